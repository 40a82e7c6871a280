"""The recorder: polls the exchange each minute, stores prices, and repairs what it missed."""
