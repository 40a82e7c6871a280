"""The stream of prices: every change as it is committed, over Server-Sent Events."""
