"""What measures: each module a subject, or the program of a process of its own."""
