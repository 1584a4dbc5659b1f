"""Git's object database, read as files: repository in, the objects that may hold a key out.

Packs are mapped and their deltas replayed by libraries that are compiled; what that doesn't handle is asked of
`git cat-file`. What is looked for in an object, and what is made of it, is left to others.
"""
