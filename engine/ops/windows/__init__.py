"""The windows of GROUP BY as operators: tumbling, hopping, sliding, session, count and state."""
