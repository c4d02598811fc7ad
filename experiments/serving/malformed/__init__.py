"""What a server may get that is no sound request, in every way we could think of."""
