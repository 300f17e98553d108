"""Training, one short file per thing that is trained."""
