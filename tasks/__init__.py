"""How work arrives: the queue's tasks, the long-running processes, and the command line.

An application, not a library: nobody imports this but its own command.
"""
