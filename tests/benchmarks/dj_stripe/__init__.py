"""A host with dj-stripe instead of our app; runs in an environment of its own."""
