"""The page to look at images, draw masks, run jobs and rate pairs: served to this machine only."""
