"""The compiled parts of `dynamics.HardDiscs`: one window of event-driven motion of hard discs in the plane.

Discs move on straight lines between reflecting walls at x = 0 and x = 1 and around a periodic y. A window of time is
handled in four steps, each a function here:

1. `register`: every disc enters all cells that its straight path over the window touches, the path widened by the
   radius, so that two discs that meet share the cell of the point where they meet;
2. `find_hits`: in each cell all pairs are tested, in single precision and with room for its rounding; the few that may
   meet are tested again in double precision;
3. `collide`: the events in order of time. Each one changes the paths of its discs, so what was foreseen for these is
   void (they carry a count), and the rest of their window is foreseen anew;
4. `finish`: all discs move on to the end of the window.

Every buffer has a size, and a step that would exceed it says so and changes nothing that cannot be put back.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LEFT, RIGHT = -1, -2  # partners of an event that is a wall
DONE, FULL_CELL, FULL_EVENTS = 0, 1, 2  # how a window ended
TIME, WINDOWS, COLLISIONS, WALL_HITS, FASTEST = range(5)  # places of the numbers that a run keeps


@njit(cache=True)
def span(low, high, pad, per_length, cells):
    """First and last cell of the interval, widened by `pad`, on an axis with walls: never outside."""
    first = int((low - pad) * per_length)
    last = int((high + pad) * per_length)
    return max(first, 0), min(last, cells - 1)


@njit(cache=True)
def ring_span(low, high, pad, per_length):
    """First and last cell of the interval, widened by `pad`, on a periodic axis: not wrapped, may be negative."""
    return math.floor((low - pad) * per_length), math.floor((high + pad) * per_length)


@njit(cache=True)
def wrapped(cell, cells):
    if cell < 0:
        return cell + cells
    return cell - cells if cell >= cells else cell


@njit(cache=True)
def enter(cell, i, x, y, u, v, filled, members, local):
    """Disc i into a cell: x and y, from the cell's centre, are where its present path was at the start of the window."""
    slot = filled[cell]
    members[cell, slot] = i
    local[cell, 0, slot], local[cell, 1, slot], local[cell, 2, slot], local[cell, 3, slot] = x, y, u, v
    filled[cell] = slot + 1


@njit(cache=True)
def register(discs, dt, sigma, side, shape, filled, members, local, times, pairs):
    """Step 1, and the wall hits of the window. Returns (number of events, state)."""
    room, found = members.shape[1], 0
    per_x, per_y, pad = 1.0 / side[0], 1.0 / side[1], radius(sigma)
    filled[:] = 0
    for i in range(discs.shape[0]):
        x, y, u, v = discs[i, 0], discs[i, 1], discs[i, 2], discs[i, 3]
        x_end, y_end = x + u * dt, y + v * dt
        if x_end < 0.0 or x_end > 1.0:
            if found == times.shape[0]:
                return found, FULL_EVENTS
            times[found] = (-x if x_end < 0.0 else 1.0 - x) / u
            pairs[found, 0], pairs[found, 1] = i, LEFT if x_end < 0.0 else RIGHT
            found += 1
        a0, a1 = span(min(x, x_end), max(x, x_end), pad, per_x, shape[0])
        b0, b1 = ring_span(min(y, y_end), max(y, y_end), pad, per_y)
        for a in range(a0, a1 + 1):
            for b in range(b0, b1 + 1):
                cell = a * shape[1] + wrapped(b, shape[1])
                if filled[cell] == room:
                    return found, FULL_CELL
                # b is not wrapped here: the image that is near this cell
                enter(cell, i, x - (a + 0.5) * side[0], y - (b + 0.5) * side[1], u, v, filled, members, local)
    return found, DONE


@njit(cache=True, error_model="numpy")
def find_hits(discs, dt, sigma, height, slack, filled, members, local, times, pairs, found):
    """Step 2: pairs that meet within the window if nothing else happens. Returns (number of events, state)."""
    # (p + q)^2 <= 2 p^2 + 2 q^2: no pair is lost to rounding
    near, twice, more = np.float32(slack), np.float32(2.0 * sigma * sigma), np.float32(2.0 * slack * slack)
    for c in range(filled.shape[0]):  # no views of arrays below: counting references to them costs more than the work
        for e in range(filled[c] - 1):
            x, y, u, v = local[c, 0, e], local[c, 1, e], local[c, 2, e], local[c, 3, e]
            candidates = np.int32(0)
            for f in range(e + 1, filled[c]):  # no branch: the compiler takes 8 or 16 at a time
                dx, dy, du, dv = local[c, 0, f] - x, local[c, 1, f] - y, local[c, 2, f] - u, local[c, 3, f] - v
                candidates += may_meet(dx, dy, du, dv, near, twice, more)
            if candidates == 0:
                continue
            i = members[c, e]
            for f in range(e + 1, filled[c]):
                dx, dy, du, dv = local[c, 0, f] - x, local[c, 1, f] - y, local[c, 2, f] - u, local[c, 3, f] - v
                if may_meet(dx, dy, du, dv, near, twice, more):
                    j = members[c, f]
                    t = time_to_contact(discs, i, j, 0.0, sigma, height)
                    if t < dt:
                        if found == times.shape[0]:
                            return found, FULL_EVENTS
                        times[found], pairs[found, 0], pairs[found, 1] = t, i, j
                        found += 1
    return found, DONE


@njit(cache=True)
def may_meet(dx, dy, du, dv, near, twice, more):
    """In single precision: with b = dr.dv < 0 two discs come closer; their lines pass at |dr x dv| / |dv| < sigma."""
    b, cross = dx * du + dy * dv, dx * dv - dy * du
    return np.int32((b < near) & (cross * cross < twice * (du * du + dv * dv) + more))


@njit(cache=True, error_model="numpy")
def time_to_contact(discs, i, j, ahead, sigma, height):
    """Time until discs i and j touch, infinite if they never do; j is first moved on by `ahead`.

    With c = dr^2 - sigma^2 the earlier root of dv^2 t^2 + 2 b t + c = 0, in the form that loses no digits. Discs that touch
    already and come closer, by rounding, meet at once.
    """
    dx = discs[j, 0] + discs[j, 2] * ahead - discs[i, 0]
    dy = discs[j, 1] + discs[j, 3] * ahead - discs[i, 1]
    if dy > 0.5 * height:
        dy -= height
    elif dy < -0.5 * height:
        dy += height
    du, dv = discs[j, 2] - discs[i, 2], discs[j, 3] - discs[i, 3]
    b = dx * du + dy * dv
    if b >= 0.0:
        return math.inf
    cross = dx * dv - dy * du
    root = sigma * sigma * (du * du + dv * dv) - cross * cross
    if root <= 0.0:
        return math.inf
    c = dx * dx + dy * dy - sigma * sigma
    return c / (math.sqrt(root) - b) if c > 0.0 else 0.0


@njit(cache=True)
def push(heap_times, heap, size, t, i, j, count_i, count_j):
    """Put an event (its discs, and their counts when it was foreseen) into a heap of `size`; returns the new size."""
    k = size
    while k > 0 and heap_times[(k - 1) >> 1] > t:
        up = (k - 1) >> 1
        move(heap_times, heap, up, k)
        k = up
    heap_times[k], heap[k, 0], heap[k, 1], heap[k, 2], heap[k, 3] = t, i, j, count_i, count_j
    return size + 1


@njit(cache=True)
def drop_first(heap_times, heap, size):
    """Take the earliest event out of the heap; returns the new size."""
    last, k = size - 1, 0
    while 2 * k + 1 < last:
        down = 2 * k + 1
        if down + 1 < last and heap_times[down + 1] < heap_times[down]:
            down += 1
        if heap_times[down] >= heap_times[last]:
            break
        move(heap_times, heap, down, k)
        k = down
    move(heap_times, heap, last, k)
    return last


@njit(cache=True)
def move(heap_times, heap, source, target):
    heap_times[target] = heap_times[source]
    for column in range(4):
        heap[target, column] = heap[source, column]


@njit(cache=True, error_model="numpy")
def foresee(i, now, dt, discs, moved, count, sigma, slack, height, side, shape, filled, members, local, heap_times, heap,
            size):  # fmt: skip
    """The rest of the window for disc i, whose path has just changed: its events into the heap, itself into the cells.

    Returns (size of the heap, state).
    """
    near, twice, more = np.float32(slack), np.float32(2.0 * sigma * sigma), np.float32(2.0 * slack * slack)
    room, rest, after = members.shape[1], dt - now, np.float32(now)
    x, y, u, v = discs[i, 0], discs[i, 1], discs[i, 2], discs[i, 3]
    x_end, y_end = x + u * rest, y + v * rest
    if (x_end < 0.0 and u < 0.0) or (x_end > 1.0 and u > 0.0):
        if size == heap_times.shape[0]:
            return size, FULL_EVENTS
        t = now + (-x if u < 0.0 else 1.0 - x) / u
        size = push(heap_times, heap, size, t, i, LEFT if u < 0.0 else RIGHT, count[i], 0)
    a0, a1 = span(min(x, x_end), max(x, x_end), radius(sigma), 1.0 / side[0], shape[0])
    b0, b1 = ring_span(min(y, y_end), max(y, y_end), radius(sigma), 1.0 / side[1])
    for a in range(a0, a1 + 1):
        for b in range(b0, b1 + 1):
            cell = a * shape[1] + wrapped(b, shape[1])
            from_centre = x - (a + 0.5) * side[0], y - (b + 0.5) * side[1]
            x0, y0, u0, v0 = np.float32(from_centre[0]), np.float32(from_centre[1]), np.float32(u), np.float32(v)
            candidates = np.int32(0)
            for f in range(filled[cell]):
                candidates += np.int32(members[cell, f] != i) & may_meet(
                    local[cell, 0, f] + local[cell, 2, f] * after - x0, local[cell, 1, f] + local[cell, 3, f] * after - y0,
                    local[cell, 2, f] - u0, local[cell, 3, f] - v0, near, twice, more,
                )  # fmt: skip
            if candidates:
                for f in range(filled[cell]):
                    j = members[cell, f]
                    if j != i and may_meet(
                        local[cell, 0, f] + local[cell, 2, f] * after - x0,
                        local[cell, 1, f] + local[cell, 3, f] * after - y0,
                        local[cell, 2, f] - u0, local[cell, 3, f] - v0, near, twice, more,
                    ):  # fmt: skip
                        t = now + time_to_contact(discs, i, j, now - moved[j], sigma, height)
                        if t < dt:
                            if size == heap_times.shape[0]:
                                return size, FULL_EVENTS
                            size = push(heap_times, heap, size, t, i, j, count[i], count[j])
            if filled[cell] == room:
                return size, FULL_CELL
            enter(cell, i, from_centre[0] - u * now, from_centre[1] - v * now, u, v, filled, members, local)
    return size, DONE


@njit(cache=True)
def radius(sigma):
    """Of the discs, with room for rounding: how far from its path the points lie where a disc touches others."""
    return 0.5 * sigma * (1.0 + 1e-9) + 1e-15


@njit(cache=True, error_model="numpy")
def collide(discs, moved, count, dt, sigma, slack, height, side, shape, filled, members, local, times, pairs, order,
            heap_times, heap, log_times, log, numbers):  # fmt: skip
    """Step 3: all events of the window in order of time. Returns (entries of the log, state)."""
    size, next_, logged = 0, 0, 0
    while next_ < order.shape[0] or size > 0:
        if size > 0 and (next_ == order.shape[0] or heap_times[0] < times[order[next_]]):
            t, i, j, count_i, count_j = heap_times[0], heap[0, 0], heap[0, 1], heap[0, 2], heap[0, 3]
            size = drop_first(heap_times, heap, size)
        else:
            k = order[next_]
            t, i, j, count_i, count_j = times[k], pairs[k, 0], pairs[k, 1], 0, 0
            next_ += 1
        if count[i] != count_i or (j >= 0 and count[j] != count_j):
            continue  # foreseen for a path that has changed since
        advance(discs, moved, i, t)
        count[i] += 1
        if j < 0:
            discs[i, 2] = -discs[i, 2]
            discs[i, 0] = 0.0 if j == LEFT else 1.0
            numbers[WALL_HITS] += 1
        else:
            advance(discs, moved, j, t)
            count[j] += 1
            bounce(discs, i, j, height)
            numbers[COLLISIONS] += 1
            if log.shape[0]:
                if logged == log.shape[0]:
                    return logged, FULL_EVENTS
                log_times[logged], log[logged, 0], log[logged, 1] = t, i, j
                logged += 1
        for k in (i, j):
            if k >= 0:
                size, state = foresee(
                    k, t, dt, discs, moved, count, sigma, slack, height, side, shape, filled, members, local,
                    heap_times, heap, size,
                )  # fmt: skip
                if state != DONE:
                    return logged, state
    return logged, DONE


@njit(cache=True)
def advance(discs, moved, i, t):
    """Move disc i on to time t of the window."""
    step = t - moved[i]
    discs[i, 0] += discs[i, 2] * step
    discs[i, 1] += discs[i, 3] * step
    moved[i] = t


@njit(cache=True)
def bounce(discs, i, j, height):
    """Elastic collision of equal discs in contact: they exchange their velocities along the line of the centres."""
    dx, dy = discs[j, 0] - discs[i, 0], discs[j, 1] - discs[i, 1]
    if dy > 0.5 * height:
        dy -= height
    elif dy < -0.5 * height:
        dy += height
    g = (dx * (discs[j, 2] - discs[i, 2]) + dy * (discs[j, 3] - discs[i, 3])) / (dx * dx + dy * dy)
    discs[i, 2] += g * dx
    discs[i, 3] += g * dy
    discs[j, 2] -= g * dx
    discs[j, 3] -= g * dy


@njit(cache=True)
def finish(discs, moved, count, dt, height):
    """Step 4. Returns the largest speed."""
    fastest = 0.0
    for i in range(discs.shape[0]):
        advance(discs, moved, i, dt)
        if discs[i, 1] < 0.0:
            discs[i, 1] += height
        if discs[i, 1] >= height:
            discs[i, 1] -= height
        moved[i], count[i] = 0.0, 0
        fastest = max(fastest, discs[i, 2] * discs[i, 2] + discs[i, 3] * discs[i, 3])
    return math.sqrt(fastest)


@njit(cache=True, error_model="numpy")
def window(discs, saved, moved, count, dt, sigma, height, slack, side, shape, filled, members, local, times, pairs,
           heap_times, heap, log_times, log, numbers):  # fmt: skip
    """One window. Returns (state, entries of the log); if the state is not `DONE`, the discs are as they were.

    One compiled call, so that an interrupt of Python comes before it or after it.
    """
    found, state = register(discs, dt, sigma, side, shape, filled, members, local, times, pairs)
    if state == DONE:
        found, state = find_hits(discs, dt, sigma, height, slack, filled, members, local, times, pairs, found)
    if state != DONE:
        return state, 0
    saved[:] = discs
    collisions, hits = numbers[COLLISIONS], numbers[WALL_HITS]
    order = np.argsort(times[:found])
    logged, state = collide(
        discs, moved, count, dt, sigma, slack, height, side, shape, filled, members, local, times, pairs, order, heap_times,
        heap, log_times, log, numbers,
    )  # fmt: skip
    if state != DONE:
        discs[:] = saved
        moved[:] = 0.0
        count[:] = 0
        numbers[COLLISIONS], numbers[WALL_HITS] = collisions, hits
        return state, 0
    numbers[FASTEST] = finish(discs, moved, count, dt, height)
    numbers[TIME] += dt
    numbers[WINDOWS] += 1
    return DONE, logged


@njit(cache=True)
def sort_by_cell(discs, names, side, shape):
    """The discs and their names in the order of their cells, so that neighbours lie near each other in memory."""
    cells = np.empty(discs.shape[0], np.int64)
    start = np.zeros(shape[0] * shape[1] + 1, np.int64)
    for i in range(discs.shape[0]):
        a = min(max(int(discs[i, 0] / side[0]), 0), shape[0] - 1)
        b = min(max(int(discs[i, 1] / side[1]), 0), shape[1] - 1)
        cells[i] = a * shape[1] + b
        start[cells[i] + 1] += 1
    for cell in range(shape[0] * shape[1]):
        start[cell + 1] += start[cell]
    ordered, ordered_names = np.empty_like(discs), np.empty_like(names)
    for i in range(discs.shape[0]):
        place = start[cells[i]]
        start[cells[i]] += 1
        ordered[place] = discs[i]
        ordered_names[place] = names[i]
    return ordered, ordered_names


@njit(cache=True)
def place(n, sigma, width, height, tries, rng):
    """Random sequential placement: centres (n, 2), and how many were placed before `tries` in a row failed."""
    shape = max(int(width / sigma), 1), max(int(height / sigma), 3)
    most = max(int(math.sqrt(2.0 * n)), 3)  # larger cells than sigma are as good: not many more cells than discs
    shape = min(shape[0], most), min(shape[1], most)
    first, following = np.full(shape, -1, np.int64), np.full(n, -1, np.int64)
    centres = np.empty((n, 2))
    for k in range(n):
        for _ in range(tries):
            x, y = width * rng.random(), height * rng.random()
            a, b = min(int(x / width * shape[0]), shape[0] - 1), min(int(y / height * shape[1]), shape[1] - 1)
            free = True
            for c in range(max(a - 1, 0), min(a + 2, shape[0])):
                for d in range(b - 1, b + 2):
                    j = first[c, wrapped(d, shape[1])]
                    while free and j >= 0:
                        dx, dy = x - centres[j, 0], abs(y - centres[j, 1])
                        dy = min(dy, height - dy)
                        free = dx * dx + dy * dy >= sigma * sigma
                        j = following[j]
            if free:
                centres[k, 0], centres[k, 1] = x, y
                following[k], first[a, b] = first[a, b], k
                break
        else:
            return centres, k
    return centres, n
