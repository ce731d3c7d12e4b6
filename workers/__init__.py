"""The pipeline: knows arq, and `connect`. One module per stage: schedule, fetch, write, post."""
