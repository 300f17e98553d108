"""What may be trusted of a restoration: checks that need no truth, and what they cannot say.

The papers compare restored images with their truth. A user has no truth. What can be found out
without it: whether anything outside the mask was touched, where each pixel came from, how much the
result depends on chance, and how wrong the same method is in sound places of the same image, whose
truth is known (`trials`).
"""
