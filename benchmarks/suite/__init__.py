"""What every benchmark is told and tells, and how it is printed, kept and drawn."""
