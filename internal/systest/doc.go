// Package systest tests Quipu as a whole: a real process, killed with kill -9, with damaged files, on a full disk, under
// hostile clients, and with the clients people use.
//
// QUIPU_TEST_SEED repeats the random choices of a failed run as far as timing allows; the tests print their seed.
package systest
