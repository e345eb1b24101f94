"""When answers suffice: evidence of an increase over a baseline, and stopping once there is enough.

Families stop by it (`-T stop=...`), and the gate decides by it.
"""
