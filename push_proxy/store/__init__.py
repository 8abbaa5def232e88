"""State that outlives the process: Redis or Valkey, or memory under the same contract."""
