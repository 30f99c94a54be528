"""Policy entropy under reinforcement learning: exact tabular policies, verifiable tasks, GRPO, interventions."""
