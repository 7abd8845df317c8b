"""A stand-in for Daytona on one machine: its HTTP, websocket and socket.io contract over real bash processes.

    python -m sandboxes.local --data-dir DIR [--host 127.0.0.1] [--port N | --fd N]

The API key comes from the environment variable LOCAL_SANDBOX_KEY. One base URL serves /api/... (control API),
/api/socket.io/ (events) and /toolbox/{sandboxId}/... (inside a sandbox), for the official SDK, unchanged.

    __main__, options       the command line
    app                     what every request passes; the parts put together
    control, listing        /api/sandbox: doors
    rows, sandboxes, idle   what is known of a sandbox, its transitions, what it does by itself
    toolbox, processes      /toolbox: doors to sessions, commands and logs
    sessions, commands      one bash a session, one command after another
    shells, supervisor      process trees: how they are started, kept together and ended
    isolation               environment, folders, bubblewrap
    logs, follow, snapshots marked logs: written, streamed, answered whole
    paths, files, transfers, searching   a sandbox's files
    gateway, throttles, faults, errors, disk

On disk: <data>/<sandbox>/{sandbox.json, home/, run/, supervisors/, sessions/<session>/<command>/{command.json,
output.log, exit_code}}. It survives its own death: see `sandboxes.Registry.load`.
"""
