"""Run time: the tasks, queues and supervision around compiled queries."""
