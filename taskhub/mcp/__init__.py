"""MCP: the Model Context Protocol at `/mcp`, for agents.

A tool uses the same service or selector, serializers, role and errors as its REST endpoint. It adds what an agent
needs: a schema, a description, and a hint what to do after an error.

    endpoint.py      the Django view: authentication and limits; the response is an exchange with the SDK's server
    server.py        the SDK's server and its lifetime in this process
    protocol.py      request handlers
    tools.py         definition and call of a tool
    task_tools.py, execution_tools.py         the hub's tools; other apps add theirs
    resources.py, prompts.py, subscriptions.py   resources, prompts, notifications of changes
"""
