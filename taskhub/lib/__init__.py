"""General-purpose parts that know nothing of tasks: locks, event loops, encryption, compiled SQL, timestamps."""
