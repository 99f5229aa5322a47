"""A second process for one operation's small files: two cores (decision 0018).

It works for one operation at a time, in that operation's own folder: what stops its owner stops it as well.
It asks for every byte of room before it is written and says what it has published with each answer; what it
had in its hands when it was killed counts as published (I5). It ends when its owner does.
"""
