package commands

// Error texts of single families; those that several share are in protocol.
const (
	errBounds          = "ERR LBOUND is greater than UBOUND"
	errReplyTooLarge   = "ERR reply is too large"
	errNoLibrary       = "ERR Library not found"
	errNotBusy         = "NOTBUSY No scripts in execution right now."
	errLibraryName     = "ERR library name argument was not given"
	errUnknownArgument = "ERR Unknown argument "
)
