"""Where an image is damaged: detectors that turn pixels into a mask of what to restore."""
