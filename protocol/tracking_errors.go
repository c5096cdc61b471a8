package protocol

import "fmt"

// CLIENT TRACKING and CLIENT CACHING.
const (
	ErrNotTracking     = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
	ErrCachingYes      = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
	ErrCachingNo       = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
	ErrRedirectClient  = "ERR The client ID you want redirect to does not exist"
	ErrRedirectTwice   = "ERR A client can only redirect to a single other client"
	ErrPrefixBroadcast = "ERR PREFIX option requires BCAST mode to be enabled"
	ErrSwitchBroadcast = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
	ErrBroadcastOpt    = "ERR OPTIN and OPTOUT are not compatible with BCAST"
	ErrOptInOut        = "ERR You can't specify both OPTIN mode and OPTOUT mode"
	ErrSwitchOpt       = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
)

// ErrPrefixOverlaps refuses a prefix that begins with another one, or the other way round; which says whose that is.
func ErrPrefixOverlaps(prefix, which, other string) string {
	return withText("ERR Prefix '", []byte(prefix), "' overlaps with "+which+withText(" prefix '", []byte(other), "'. Prefixes for a single client must not overlap."))
}

// ErrClientPrefixes refuses a client's further prefixes.
func ErrClientPrefixes(limit int) string {
	return fmt.Sprintf("ERR a client may have %d prefixes: ask for shorter ones", limit)
}

// ErrPrefixes refuses prefixes beyond those that a node may have of all clients.
func ErrPrefixes(limit int) string {
	return fmt.Sprintf("ERR clients have asked this node for %d prefixes: no more are possible; track keys without BCAST, or ask for prefixes that others have", limit)
}
