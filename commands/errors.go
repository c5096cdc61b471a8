package commands

// Error texts of single families; those that several share are in protocol.
const (
	errBounds             = "ERR LBOUND is greater than UBOUND"
	errReplyTooLarge      = "ERR reply is too large"
	errNoLibrary          = "ERR Library not found"
	errNotBusy            = "NOTBUSY No scripts in execution right now."
	errScriptManyKeys     = "ERR Number of keys can't be greater than number of args"
	errScriptNegativeKeys = "ERR Number of keys can't be negative"
	errScriptFlushOption  = "ERR SCRIPT FLUSH only support SYNC|ASYNC option"
	errLibraryName        = "ERR library name argument was not given"
	errUnknownArgument    = "ERR Unknown argument "
	errNoDebugKey         = "ERR The specified key does not exist"
	errNotSparse          = "ERR HLL encoding is not sparse"
	errCorruptSketch      = "INVALIDOBJ Corrupted sketch detected"
)
