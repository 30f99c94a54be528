"""Hard discs in the classical way, with cells, one event per disc and a calendar: the faster engine for a dense gas.

Every disc keeps the place where it was at its own local time, and the time of its next event: it leaves its cell, or it
meets the partner that it would meet first. A disc that enters a cell is tested against the three cells that it comes to
see; one whose path has changed, against all nine. A partner whose path has changed since (its count tells) makes the
event void; then the disc looks again. The events wait in a calendar: a ring of short buckets of time, each an unsorted
list of discs; the bucket at hand is sorted. Insertion and removal cost the same however many discs there are.

In a dilute gas most events are crossings of cells, and `dynamics.HardDiscs` is faster.

Discs per cell, events per bucket and the length of the ring are the fastest that were found. Tried without gain: discs
sorted by cell now and then, cells and discs of coming events fetched ahead.

Sources: Rapaport 1980, J. Comput. Phys. 34, 184 (cells); Lubachevsky 1991, J. Comput. Phys. 94, 255 (one event per disc,
void events found late); Paul 2007, J. Comput. Phys. 221, 615 (calendar).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from entropy_utils.lab.errors import ParameterError

from .dynamics import Collisions, check_discs
from .theory import packing_fraction

PER_BUCKET = 8  # events
LAP = 4  # mean times between two events of a disc that the ring spans, about
MOST = 2**15 - 1  # cells along an axis
DONE, FULL_RING, FULL_BUCKET, FULL_CELL, FULL_LOG = range(5)  # how the compiled loop ended
TIME, COLLISIONS = range(2)  # places of the numbers that a run keeps
BUCKET, NEXT, FILLED, STATE = range(4)  # the bucket at hand, where the next event is in it, its size; what ran over

# 64 bytes, a cache line: path, local time, next event, when it meets its partner, its cell, how often its path changed
DISC = np.dtype(
    [(name, float) for name in ("x", "y", "u", "v", "since", "due", "meets")]
    + [("a", np.int16), ("b", np.int16), ("count", np.int32)]
)
HELD = np.dtype([("time", float), ("disc", np.int64)])  # an event of the bucket at hand


class Box(NamedTuple):
    """Numbers that stay as they are."""

    sigma: float
    height: float
    nx: int
    ny: int
    side_x: float
    side_y: float
    per_time: float  # buckets


# Without `_nrt=False` each call would count the references to every array, which takes as long as the work. No function
# may make an array, then.
kernel = njit(cache=True, error_model="numpy", _nrt=False)

# The arrays of all functions: `discs` (N,) of DISC; `partner` (N, 2), the other disc of a collision and its count when that
# was foreseen; `cells` (cells, room + 1) and `ring` (buckets, room + 1), lists of discs with their lengths in front; `hand`,
# the bucket at hand, sorted; `place`, see BUCKET.


@kernel
def schedule(i, t, discs, ring, hand, place, box):
    """The next event of disc i is at t. An earlier entry of it in the calendar becomes void."""
    discs[i].due = t
    bucket = np.int64(min(t * box.per_time, 9e18))
    row = bucket & (ring.shape[0] - 1)
    if bucket <= place[BUCKET]:
        k = place[FILLED]
        if k == hand.shape[0]:
            place[STATE] = FULL_BUCKET
        else:
            while k > place[NEXT] and hand[k - 1].time > t:
                hand[k].time, hand[k].disc = hand[k - 1].time, hand[k - 1].disc
                k -= 1
            hand[k].time, hand[k].disc = t, i
            place[FILLED] += 1
    elif t == math.inf:
        pass
    elif ring[row, 0] == ring.shape[1] - 1:
        place[STATE] = FULL_RING
    else:
        ring[row, 0] += 1
        ring[row, ring[row, 0]] = i


@kernel
def open_bucket(bucket, discs, ring, hand, place, box):
    """Make `bucket` the one at hand; what is due in a later lap of the ring stays in it."""
    last, kept, filled = ring.shape[0] - 1, 0, 0
    row = bucket & last
    for k in range(1, ring[row, 0] + 1):
        i = ring[row, k]
        t = discs[i].due
        due = np.int64(min(t * box.per_time, 9e18))
        if due == bucket:
            f = filled
            while f > 0 and hand[f - 1].time > t:
                hand[f].time, hand[f].disc = hand[f - 1].time, hand[f - 1].disc
                f -= 1
            hand[f].time, hand[f].disc = t, i
            filled += 1
        elif due > bucket and due & last == row:
            kept += 1
            ring[row, kept] = i
    ring[row, 0] = kept
    place[BUCKET], place[NEXT], place[FILLED] = bucket, 0, filled


@kernel
def leaves(i, discs, box):
    """When disc i reaches the edge of its cell along x, and along y."""
    a, b, u, v = np.int64(discs[i].a), np.int64(discs[i].b), discs[i].u, discs[i].v
    t_x = discs[i].since + ((a + (u > 0.0)) * box.side_x - discs[i].x) / u if u != 0.0 else math.inf
    t_y = discs[i].since + ((b + (v > 0.0)) * box.side_y - discs[i].y) / v if v != 0.0 else math.inf
    return t_x, t_y


@kernel
def look(i, now, a0, a1, b0, b1, discs, partner, cells, ring, hand, place, box):
    """Test disc i against the cells a0 to a1, b0 to b1; its event and those of the others become earlier if need be."""
    u, v, step = discs[i].u, discs[i].v, now - discs[i].since
    x, y_here, first, sigma2 = discs[i].x + u * step, discs[i].y + v * step, discs[i].meets, box.sigma * box.sigma
    for a in range(max(a0, 0), min(a1, box.nx - 1) + 1):
        for b in range(b0, b1 + 1):
            cell, y = a * box.ny + b, y_here
            if b < 0:
                cell, y = cell + box.ny, y + box.height
            elif b >= box.ny:
                cell, y = cell - box.ny, y - box.height
            for k in range(1, cells[cell, 0] + 1):
                j = cells[cell, k]
                step, du, dv = now - discs[j].since, discs[j].u - u, discs[j].v - v
                dx, dy = discs[j].x + discs[j].u * step - x, discs[j].y + discs[j].v * step - y
                along, across = dx * du + dy * dv, dx * dv - dy * du
                root = sigma2 * (du * du + dv * dv) - across * across
                if root > 0.0 and along < 0.0:  # in this order: the branch is foreseeable
                    c = dx * dx + dy * dy - sigma2
                    t = now + (c / (math.sqrt(root) - along) if c > 0.0 else 0.0)
                    if t < first:
                        first = t
                        partner[i, 0], partner[i, 1] = j, discs[j].count
                    if t < discs[j].meets:
                        discs[j].meets = t
                        partner[j, 0], partner[j, 1] = i, discs[i].count
                        if t < discs[j].due:
                            schedule(j, t, discs, ring, hand, place, box)
    discs[i].meets = first
    t_x, t_y = leaves(i, discs, box)
    schedule(i, min(first, t_x, t_y), discs, ring, hand, place, box)


@kernel
def foresee(i, now, discs, partner, cells, ring, hand, place, box):
    """The next event of disc i, whose path has just changed or whose partner was not there."""
    discs[i].meets = math.inf
    a, b = np.int64(discs[i].a), np.int64(discs[i].b)
    look(i, now, a - 1, a + 1, b - 1, b + 1, discs, partner, cells, ring, hand, place, box)


@kernel
def advance(i, now, discs):
    """Move disc i on to its next path, which begins now."""
    step = now - discs[i].since
    discs[i].x += discs[i].u * step
    discs[i].y += discs[i].v * step
    discs[i].since = now
    discs[i].count += 1


@kernel
def collide(i, j, now, discs, box):
    """The discs exchange their velocities along the line of their centres."""
    advance(i, now, discs)
    advance(j, now, discs)
    dx, dy = discs[j].x - discs[i].x, discs[j].y - discs[i].y
    if dy > 0.5 * box.height:
        dy -= box.height
    elif dy < -0.5 * box.height:
        dy += box.height
    g = (dx * (discs[j].u - discs[i].u) + dy * (discs[j].v - discs[i].v)) / (dx * dx + dy * dy)
    discs[i].u += g * dx
    discs[i].v += g * dy
    discs[j].u -= g * dx
    discs[j].v -= g * dy


@kernel
def cross(i, now, along_x, discs, partner, cells, ring, hand, place, box):
    """Disc i goes over to the next cell, or is reflected by a wall. False: there is no room, and nothing is changed."""
    a, b = np.int64(discs[i].a), np.int64(discs[i].b)
    if along_x:
        step = 1 if discs[i].u > 0.0 else -1
        a += step
        if a < 0 or a == box.nx:
            advance(i, now, discs)
            discs[i].x = 0.0 if a < 0 else 1.0
            discs[i].u = -discs[i].u
            foresee(i, now, discs, partner, cells, ring, hand, place, box)
            return True
        a0, a1, b0, b1, around = a + step, a + step, b - 1, b + 1, 0.0
    else:
        step = 1 if discs[i].v > 0.0 else -1
        b += step
        around = box.height if b < 0 else -box.height if b == box.ny else 0.0
        b = box.ny - 1 if b < 0 else 0 if b == box.ny else b
        a0, a1, b0, b1 = a - 1, a + 1, b + step, b + step
    old, new = discs[i].a * box.ny + discs[i].b, a * box.ny + b
    if cells[new, 0] == cells.shape[1] - 1:
        return False
    k = 1
    while cells[old, k] != i:
        k += 1
    cells[old, k] = cells[old, cells[old, 0]]
    cells[old, 0] -= 1
    cells[new, 0] += 1
    cells[new, cells[new, 0]] = i
    discs[i].a, discs[i].b = a, b
    discs[i].y += around
    look(i, now, a0, a1, b0, b1, discs, partner, cells, ring, hand, place, box)
    return True


@kernel
def start(discs, partner, cells, ring, hand, place, box):
    """All discs into their cells, which must have room, and what each will do first."""
    for i in range(discs.shape[0]):
        discs[i].due, discs[i].meets, cell = math.inf, math.inf, discs[i].a * box.ny + discs[i].b
        cells[cell, 0] += 1
        cells[cell, cells[cell, 0]] = i
    for i in range(discs.shape[0]):
        foresee(i, 0.0, discs, partner, cells, ring, hand, place, box)


@kernel
def events_until(end, numbers, log, logged, discs, partner, cells, ring, hand, place, box):
    """All events before `end`. Returns (state, entries of the log); unless it is DONE, the rest is still to be done."""
    place[BUCKET], place[NEXT], place[FILLED] = np.int64(numbers[TIME] * box.per_time) - 1, 0, 0
    place[STATE] = DONE
    ring[:, 0] = 0
    for i in range(discs.shape[0]):
        schedule(i, discs[i].due, discs, ring, hand, place, box)
    while place[STATE] == DONE:
        while place[NEXT] == place[FILLED] and place[BUCKET] < end * box.per_time:
            open_bucket(place[BUCKET] + 1, discs, ring, hand, place, box)
        now, i = hand[place[NEXT]].time, hand[place[NEXT]].disc
        if place[NEXT] == place[FILLED] or now >= end:
            numbers[TIME] = end
            break
        if discs[i].due != now:  # void: this disc had another event before
            place[NEXT] += 1
            continue
        t_x, t_y = leaves(i, discs, box)
        if discs[i].meets <= min(t_x, t_y):
            j = partner[i, 0]
            if discs[j].count == partner[i, 1]:
                if log.shape[1]:
                    if logged == log.shape[1]:
                        return FULL_LOG, logged
                    log[0, logged], log[1, logged], log[2, logged] = now, i, j
                    logged += 1
                collide(i, j, now, discs, box)
                numbers[COLLISIONS] += 1
                discs[j].meets = math.inf
                foresee(j, now, discs, partner, cells, ring, hand, place, box)
            place[NEXT] += 1
            foresee(i, now, discs, partner, cells, ring, hand, place, box)
        else:
            place[NEXT] += 1
            if not cross(i, now, t_x < t_y, discs, partner, cells, ring, hand, place, box):
                return FULL_CELL, logged
        numbers[TIME] = now
    return place[STATE], logged


class CalendarDiscs:
    """As `dynamics.HardDiscs`, input and errors too: x, y, vx, vy (N,), diameter sigma, walls at x = 0 and 1, y periodic.

    An interrupted `run` stops between two events.
    """

    def __init__(self, x, y, vx, vy, sigma: float, height: float = 1.0):
        columns = {name: np.asarray(column, float) for name, column in {"x": x, "y": y, "vx": vx, "vy": vy}.items()}
        check_discs(**columns, sigma=sigma, height=height)
        if sigma > min(1, height / 3):
            raise ParameterError.of("sigma", sigma, f"at most 1 and a third of the height {height:g}")
        self.sigma, self.height = float(sigma), float(height)
        self._numbers, self._origin = np.zeros(2), 0.0
        self._lay_out(**columns)

    def _lay_out(self, x, y, vx, vy) -> None:
        """Cells, calendar and the first event of every disc; the calendar's time begins now."""
        self._origin, self._numbers[TIME] = self.time, 0.0
        n, sigma, height = len(x), self.sigma, self.height
        per_cell = min(max(0.1 / math.sqrt(packing_fraction(n, sigma, height)), 1), 4)
        side = max(math.sqrt(per_cell * height / n), sigma)
        shape = min(max(int(1 / side), 1), MOST), min(max(int(height / side), 3), MOST)
        side = 1 / shape[0], height / shape[1]
        a, b = (
            np.minimum((column / width).astype(np.int32), cells - 1)
            for column, width, cells in zip((x, y), side, shape, strict=True)
        )
        self._names = np.argsort(a * shape[1] + b, kind="stable")  # neighbours lie near each other in memory
        discs = aligned(n, DISC)  # zeros
        for to, column in zip(("x", "y", "u", "v"), (x, y, vx, vy), strict=True):
            discs[to] = column[self._names]
        discs["a"], discs["b"] = a[self._names], b[self._names]
        speed = float(np.hypot(discs["u"], discs["v"]).mean())
        wait = min(side) / speed if speed else 1.0
        buckets = 1 << max(round(math.log2(LAP * n / PER_BUCKET)), 2)  # a power of 2: no division is needed
        self._box = Box(float(sigma), float(height), *shape, *side, n / PER_BUCKET / wait)
        room = max(15, int(np.bincount(a * shape[1] + b).max()))
        self._discs, self._partner = discs, np.full((n, 2), -1, np.int32)
        self._cells, self._ring = lists(shape[0] * shape[1], room), lists(buckets, 31)
        self._hand, self._place = np.empty(2 * n + 100, HELD), np.array([-1, 0, 0, DONE])
        start(*self._arrays())

    def __len__(self) -> int:
        return len(self._names)

    @property
    def time(self) -> float:
        return self._origin + float(self._numbers[TIME])

    @property
    def collisions(self) -> int:
        return int(self._numbers[COLLISIONS])

    x = property(lambda self: np.clip(self._in_order(self._moved("x", "u")), 0.0, 1.0))
    y = property(lambda self: self._in_order(self._moved("y", "v") % self._box.height))
    vx = property(lambda self: self._in_order(self._discs["u"]))
    vy = property(lambda self: self._in_order(self._discs["v"]))

    @property
    def energy(self) -> float:
        return 0.5 * float((self._discs["u"] ** 2 + self._discs["v"] ** 2).sum())

    def reverse(self) -> None:
        """Turn all velocities around; the discs keep their numbers."""
        self._lay_out(self.x, self.y, -self.vx, -self.vy)

    def run(self, duration: float, log: bool = False) -> Collisions | None:
        """Move on by `duration`; with `log`, return its collisions."""
        if not (math.isfinite(duration) and duration >= 0):
            raise ParameterError.of("duration", duration, "a finite number from 0")
        end, logged, state = self._numbers[TIME] + duration, 0, None
        self._log = np.empty((3, len(self) * log))
        while state != DONE:
            state, logged = events_until(end, self._numbers, self._log, logged, *self._arrays())
            # twice the room for what has run over; a full bucket at hand is rid of its void events when the loop begins anew
            if state == FULL_RING:
                self._ring = wider(self._ring)
                self._hand = np.empty(max(len(self._hand), self._ring.shape[1]), HELD)
            elif state == FULL_CELL:
                self._cells = wider(self._cells)
            elif state == FULL_LOG:
                self._log = np.concatenate([self._log, np.empty_like(self._log)], axis=1)
        if not log:
            return None
        first, second = self._log[1:, :logged].astype(int)
        return Collisions(self._origin + self._log[0, :logged], self._names[first], self._names[second])

    def _arrays(self) -> tuple:
        return self._discs, self._partner, self._cells, self._ring, self._hand, self._place, self._box

    def _moved(self, place: str, speed: str) -> np.ndarray:
        discs = self._discs
        return discs[place] + discs[speed] * (self._numbers[TIME] - discs["since"])

    def _in_order(self, column: np.ndarray) -> np.ndarray:
        ordered = np.empty(len(self))
        ordered[self._names] = column
        return ordered


def aligned(n: int, dtype: np.dtype) -> np.ndarray:
    """n zeros that begin at a cache line."""
    memory = np.zeros(n * dtype.itemsize + 64, np.uint8)
    skipped = -memory.ctypes.data % 64
    return memory[skipped : skipped + n * dtype.itemsize].view(dtype)


def lists(number: int, room: int) -> np.ndarray:
    """Empty lists for so many discs each, and their lengths in front."""
    return aligned(number * (room + 1), np.dtype(np.int32)).reshape(number, room + 1)


def wider(full: np.ndarray) -> np.ndarray:
    """The same lists with twice the room."""
    wide = lists(len(full), 2 * full.shape[1] - 1)
    wide[:, : full.shape[1]] = full
    return wide
