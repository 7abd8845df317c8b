"""Local sandbox server: Daytona's HTTP, websocket and socket.io API over real bash processes on one machine.

README.md in this folder describes what it promises, what a script can reach, and which module holds what.
"""
