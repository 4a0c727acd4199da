"""The stages of a job: each a pure function of its inputs' digests that leaves one artifact."""
