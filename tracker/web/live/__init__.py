"""What is committed, told as it is committed: the stream."""
