"""What is wrong with an installation, and what to do about it; only looks, and changes nothing.

Each diagnosis is a function that yields what it finds. What makes others pointless comes first: no Stripe
account is examined whose key is refused, and no table that isn't migrated.
"""
