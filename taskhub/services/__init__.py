"""The only writers: `<noun>_<verb>`, keyword-only. Guard, change, audit, publish, in one transaction."""
