"""The ``isthmus`` command: one program for people (up, down, status) and for servers (roles).

- ``main``: the entry; hands a role's arguments to that role and imports nothing else for it;
- ``app``: the commands for people, their options and texts;
- ``plan``: which processes a local cluster is made of (pure);
- ``local``: a local cluster's directory: its lock and its state file (io);
- ``process``: starting, recognising and ending processes; ports in use (io);
- ``supervise``: starting a cluster in order, restarting what fails, stopping all of it (io);
- ``inquiry``: asking a coordinator for its status (io);
- ``screen``: tables and texts.
"""
