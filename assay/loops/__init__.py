"""The loops that plain recipes borrow."""
