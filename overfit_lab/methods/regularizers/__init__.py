"""What is added to an objective: perturbed or averaged weights, penalties, teachers, augmentation. One a file."""
