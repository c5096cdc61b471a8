# Completion of quipu for bash, made by "quipu generate bash".
_quipu() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} sub=${COMP_WORDS[1]} words="" paths=""
	COMPREPLY=()
	if ((COMP_CWORD > 1)) && [[ $sub == --* || -f $sub ]]; then sub=server; fi
	if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
		words="server ping cluster backup restore recover connect tls generate version help" paths=1
	else
		if ((COMP_CWORD == 1)); then sub=server; fi
		case "$sub $prev" in
		"server --acl-pubsub-default") words="resetchannels" ;;
		"server --protected-mode") words="no yes" ;;
		"server --enable-debug-command") words="no yes" ;;
		"server --loglevel") words="debug notice verbose warning" ;;
		"server --maxmemory-policy") words="noeviction" ;;
		"server --transport") words="auto epoll net" ;;
		"server --tls-auth-clients") words="no optional yes" ;;
		"server --tls-session-caching") words="no yes" ;;
		"server --tls-cluster") words="no yes" ;;
		"server --tls-replication") words="no" ;;
		"server --tls-prefer-server-ciphers") words="no" ;;
		"server --cluster-enabled") words="no yes" ;;
		"server --ack") words="local quorum" ;;
		"server --read-consistency") words="leader linearizable local" ;;
		"server --http-tls") words="no yes" ;;
		"server --console") words="no yes" ;;
		"server --appendonly") words="yes" ;;
		"server --appendfsync") words="always" ;;
		"server --replica-read-only") words="yes" ;;
		"server --slave-read-only") words="yes" ;;
		"server --notify-keyspace-events") words="A E K g the xdn" ;;
		"server --latency-tracking") words="no yes" ;;
		"server --hotkeys") words="no yes" ;;
		"server --region-tls") words="no yes" ;;
		"server --unixsocket"|"server --dir"|"server --aclfile"|"server --peer-tls-cert-file"|"server --peer-tls-key-file"|"server --peer-tls-ca-cert-file"|"server --tls-cert-file"|"server --tls-key-file"|"server --tls-ca-cert-file"|"server --tls-ca-cert-dir"|"server --tls-client-cert-file"|"server --tls-client-key-file"|"server --tls-dh-params-file") paths=1 ;;
		"server --port"|"server --bind"|"server --unixsocketperm"|"server --databases"|"server --requirepass"|"server --user"|"server --acllog-max-len"|"server --maxclients"|"server --maxmemory"|"server --maxmemory-clients"|"server --timeout"|"server --tcp-keepalive"|"server --io-loops"|"server --node-id"|"server --peer-addr"|"server --peer-bind"|"server --join"|"server --bootstrap-expect"|"server --checksum-interval"|"server --tls-port"|"server --tls-protocols"|"server --tls-handshake-timeout"|"server --tls-handshakes"|"server --tls-key-file-pass"|"server --tls-client-key-file-pass"|"server --tls-ciphers"|"server --tls-ciphersuites"|"server --tls-session-cache-size"|"server --tls-session-cache-timeout"|"server --cluster-announce-ip"|"server --cluster-announce-port"|"server --ack-rule"|"server --local-ack-interval"|"server --local-ack-max-pending"|"server --http-addr"|"server --feed-ring"|"server --write-timeout"|"server --snapshot-log-bytes"|"server --log-segment-bytes"|"server --proto-max-bulk-len"|"server --max-key-bytes"|"server --max-arguments"|"server --max-inline-bytes"|"server --max-command-bytes"|"server --client-input-bytes"|"server --client-outstanding-bytes"|"server --outstanding-bytes"|"server --client-output-pause-bytes"|"server --client-output-bytes"|"server --client-push-bytes"|"server --tracking-table-max-keys"|"server --client-output-timeout"|"server --command-timeout"|"server --auth-timeout"|"server --auth-failures-per-second"|"server --save"|"server --slowlog-log-slower-than"|"server --slowlog-max-len"|"server --latency-monitor-threshold"|"server --latency-tracking-info-percentiles"|"server --region"|"server --region-peers"|"server --region-keys"|"server --region-interval"|"server --region-ring"|"server --region-auth") return ;;
		"ping --cacert"|"ping --cert"|"ping --key") paths=1 ;;
		"ping --addr"|"ping --password"|"ping --user") return ;;
		"cluster --cacert"|"cluster --cert"|"cluster --key") paths=1 ;;
		"cluster --addr"|"cluster --password"|"cluster --user"|"cluster --wait") return ;;
		"backup --cacert"|"backup --cert"|"backup --key") paths=1 ;;
		"backup --addr"|"backup --password"|"backup --user") return ;;
		"restore --dir") paths=1 ;;
		"recover --dir"|"recover --from") paths=1 ;;
		"recover --databases") return ;;
		"tls --dir") paths=1 ;;
		"tls --hosts") return ;;
		*)
			case "$sub $cur" in
			"server -"*) words="--help --port --bind --unixsocket --unixsocketperm --dir --databases --requirepass --user --aclfile --acllog-max-len --acl-pubsub-default --protected-mode --enable-debug-command --loglevel --maxclients --maxmemory --maxmemory-clients --maxmemory-policy --timeout --tcp-keepalive --io-loops --transport --node-id --peer-addr --peer-bind --join --bootstrap-expect --checksum-interval --peer-tls-cert-file --peer-tls-key-file --peer-tls-ca-cert-file --tls-port --tls-cert-file --tls-key-file --tls-ca-cert-file --tls-ca-cert-dir --tls-auth-clients --tls-protocols --tls-session-caching --tls-cluster --tls-handshake-timeout --tls-handshakes --tls-key-file-pass --tls-client-cert-file --tls-client-key-file --tls-client-key-file-pass --tls-dh-params-file --tls-replication --tls-ciphers --tls-ciphersuites --tls-prefer-server-ciphers --tls-session-cache-size --tls-session-cache-timeout --cluster-enabled --cluster-announce-ip --cluster-announce-port --ack --ack-rule --local-ack-interval --local-ack-max-pending --read-consistency --http-addr --http-tls --console --feed-ring --write-timeout --snapshot-log-bytes --log-segment-bytes --proto-max-bulk-len --max-key-bytes --max-arguments --max-inline-bytes --max-command-bytes --client-input-bytes --client-outstanding-bytes --outstanding-bytes --client-output-pause-bytes --client-output-bytes --client-push-bytes --tracking-table-max-keys --client-output-timeout --command-timeout --auth-timeout --auth-failures-per-second --appendonly --appendfsync --save --replica-read-only --slave-read-only --notify-keyspace-events --slowlog-log-slower-than --slowlog-max-len --latency-monitor-threshold --latency-tracking --hotkeys --latency-tracking-info-percentiles --region --region-peers --region-keys --region-interval --region-ring --region-tls --region-auth" ;;
			"ping -"*) words="--addr --cacert --cert --key --password --tls --user" ;;
			"cluster -"*) words="--addr --cacert --cert --key --password --tls --user --voter --wait" ;;
			"backup -"*) words="--addr --cacert --cert --key --password --tls --user" ;;
			"restore -"*) words="--dir" ;;
			"recover -"*) words="--databases --dir --from" ;;
			"tls -"*) words="--dir --hosts" ;;
			"server "*)
				if ((COMP_CWORD == 2)); then paths=1; fi
				;;
			"cluster "*)
				if ((COMP_CWORD == 2)); then words="status wait add promote remove replace transfer compare upgrade"; fi
				;;
			"backup "*)
				if ((COMP_CWORD == 2)); then paths=1; fi
				;;
			"restore "*)
				if ((COMP_CWORD == 2)); then paths=1; fi
				;;
			"connect "*)
				if ((COMP_CWORD == 2)); then words="check test run status accept retry recount adopt"; fi
				if ((COMP_CWORD == 3)); then paths=1; fi
				;;
			"tls "*)
				if ((COMP_CWORD == 2)); then words="init"; fi
				;;
			"generate "*)
				if ((COMP_CWORD == 2)); then words="quipu.1 quipu.conf.5 quipu.conf bash zsh fish"; fi
				;;
			esac ;;
		esac
	fi
	local IFS=$'\n'
	if [[ $words ]]; then COMPREPLY=($(compgen -W "${words// /$'\n'}" -- "$cur")); fi
	if [[ $paths ]]; then
		compopt -o filenames 2>/dev/null
		COMPREPLY+=($(compgen -f -- "$cur"))
	fi
}
complete -F _quipu quipu
