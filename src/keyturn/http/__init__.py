"""The authority's HTTP face: it listens, bounds what a stranger may send, and hands whole requests to a face.

Who the caller is and what may be done is the authority's; how parameters and answers look is `wire`'s.
"""
