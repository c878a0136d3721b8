"""The use cases, over real parts and over fakes of the ports."""
