"""Addresses, subnets, VXLAN ids and ports: given out centrally, so that no two things ever have the same."""
