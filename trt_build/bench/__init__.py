"""Measurements that need torch; `pixassay bench` starts each as a program of its own."""
