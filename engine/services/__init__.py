"""External services: functions of SQL that ask somebody else over HTTP."""
