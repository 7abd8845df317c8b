"""The door for agents: the Model Context Protocol at `/mcp`.

A tool is REST by another door: REST's serializers read its arguments and write its result, its role is its twin's, it
calls the same service or selector, and its errors are REST's. What it adds is what an agent needs to use it: a schema,
a description, and a hint what to do after an error.

    endpoint.py    the Django view: who calls, from where, how often; the answer is an exchange with the SDK's server
    server.py      the SDK's server and its life in this process
    protocol.py    what it answers
    tools.py       what a tool is, and how it is called
    task_tools.py, execution_tools.py   the hub's own; other apps add theirs
    resources.py, prompts.py, listening.py   what can be read, how to work, and being told of changes
"""
