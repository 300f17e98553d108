"""The diffusion core: loop, schedules, paths, samplers, noise, spaces, denoisers."""
