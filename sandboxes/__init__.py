"""Sandboxes: Daytona's, or those of the local sandbox server. Imports taskhub, which never imports it."""
