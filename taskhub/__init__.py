"""The hub: tasks, their executions, and the event stream. It knows nothing of Daytona."""
