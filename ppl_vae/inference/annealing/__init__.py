"""Annealed importance sampling and its Hamiltonian transitions."""
