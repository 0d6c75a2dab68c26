"""Small values the whole product speaks in: currencies, instants, durations, calendars, account names.

Pure rules: no input or output, no clock, no state. Import the module you need; nothing is re-exported here.
"""
