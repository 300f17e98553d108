"""What a diffusion model has to beat."""
