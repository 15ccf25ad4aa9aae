"""Numbers printed in the paper of SGLR, to compare with our own.

Source: Yu, Li, Wei, Jin, Zhang, Chan: Soften to Defend: Towards Adversarial Robustness via Self-Guided Label
Refinement. CVPR 2024, arXiv 2403.09101. ``tables.csv`` holds Tabs. 2, 3, B.1, B.3 and B.4 (accuracies in percent, ECE
as a fraction; ``table`` names the table), ``table4.csv`` the ablation over r and the temperature (Tab. 4) and
``tableB2.csv`` test errors in percent over rates of symmetric label noise (Tab. B.2). Numbers are copied as printed,
also where they contradict each other; :mod:`overfit_lab.views.published.reader` finds such places.
"""
