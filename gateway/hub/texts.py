"""Every text that people see, in English: one catalogue, so that a translation is one more dictionary.

Second person, present tense, the device by its name, what to do before why, never blame. Places for values
are named: ``{device}``. Plural forms are two keys, ``…_one`` and ``…_many``. Values are escaped where they
are shown.
"""

TEXTS: dict[str, str] = {
    # every page
    "brand": "Posturegate",
    "skip": "Skip to the content",
    "signed_in_as": "Signed in as {account}",
    "sign_out": "Sign out",
    "help_title": "Need help?",
    "help_owner": "Ask {owner}.",
    "help_nobody": "Ask the people who look after your computer.",
    "help_code": "Tell them this code. It shows them what happened, so you do not have to explain it.",
    "code_label": "Reference code",
    "copy": "Copy",
    "copied": "Copied",
    "access_line": "Where things stand",
    "new_tab": "opens in a new tab",
    "continue_to": "Continue to {app}",
    "continue": "Continue",
    "go_back": "Go back",
    "what_to_do": "What you can do",
    # stops of the access line
    "stop_you": "You",
    "stop_device": "Your device",
    "stop_this_device": "This device",
    "stop_gate": "Access check",
    "stop_app": "Your app",
    "stop_provider": "Sign-in service",
    "stop_address": "This address",
    "state_signed_in": "Signed in",
    "state_signed_out": "Signed out",
    "state_not_signed_in": "Not signed in",
    "state_sign_in_again": "Sign in again",
    "state_needs_more": "One more step",
    "state_ready": "Ready",
    "state_to_fix_one": "1 thing to fix",
    "state_to_fix_many": "{count} things to fix",
    "state_silent": "Not heard from",
    "state_unknown_device": "Not recognised",
    "state_paused": "Paused",
    "state_open": "Open",
    "state_limited": "Limited",
    "state_working": "Working",
    "state_waiting": "Waiting",
    "state_closed": "Not open to you",
    "state_not_asked": "Not reached",
    "state_not_answering": "Not answering",
    "state_trouble": "Has a problem",
    "state_busy": "Too busy",
    "state_nothing_here": "Nothing here",
    "state_did_not_work": "Did not work",
    "state_shut": "Closed",
    "state_fine": "All fine",
    # remediation
    "fix_title": "{device} needs attention before you can open {app}",
    "fix_title_no_app": "{device} needs attention",
    "fix_lead_one": "There is one thing to fix. The steps are below.",
    "fix_lead_many": "There are {count} things to fix. The steps are below.",
    "grace_title": "Fix this {by} to keep using {app}",
    "grace_title_no_app": "Fix this {by}",
    "grace_lead_one": "You can keep working. One thing on {device} has to be fixed in time.",
    "grace_lead_many": "You can keep working. {count} things on {device} have to be fixed in time.",
    "limited_title": "You have limited access to {app}",
    "limited_title_no_app": "You have limited access",
    "limited_lead": "Fix what is below and everything works again.",
    "notice_lead": "You can open {app}. Other apps may stay closed until this is fixed.",
    "notice_lead_no_app": "Some apps may stay closed until this is fixed.",
    "silent_title": "We haven't heard from {device} {since}",
    "silent_title_never": "We haven't heard from {device} yet",
    "silent_lead": (
        "This does not mean that it is unsafe. We just can't tell, because its checks have stopped reporting."
    ),
    "silent_lead_never": "No check has told us about it so far, so we can't tell how it is doing.",
    "unknown_title": "We can't tell which device this is",
    "unknown_lead": (
        "{app} opens only on devices that we know. You are signed in, but we don't recognise this device."
    ),
    "unknown_lead_no_app": "You are signed in, but we don't recognise this device.",
    "clear_title": "{device} is ready",
    "clear_lead": "There is nothing to fix. You can open {app}.",
    "clear_lead_no_app": "There is nothing to fix. You can use your apps.",
    "clear_unknown_title": "You can open {app}",
    "clear_unknown_title_no_app": "You can use your apps",
    "clear_unknown_lead": "We can't tell which device this is, but nothing here asks for that.",
    "access_paused": "Access to {app} is paused until this is fixed.",
    "access_paused_no_app": "Access is paused until this is fixed.",
    "access_paused_silent": "Access to {app} is paused until we hear from {device} again.",
    "access_paused_silent_no_app": "Access is paused until we hear from {device} again.",
    "access_paused_unknown": "Access to {app} is paused on this device.",
    "access_paused_unknown_no_app": "Access is paused on this device.",
    "access_until": "Access works until {deadline} ({ago}).",
    "access_open": "Access to {app} is open.",
    "access_open_no_app": "Access is open.",
    "access_limited": "Access to {app} works, with limits.",
    "access_limited_no_app": "Access works, with limits.",
    "todo_heading": "What to fix",
    "done_heading": "Already fine",
    "nothing_heading": "Nothing to fix",
    "nothing_text": "You do not have to do anything here.",
    "more_one": "And 1 more thing. It shows up here when these are done.",
    "more_many": "And {count} more things. They show up here when these are done.",
    "status_to_do": "To do",
    "status_due": "Due soon",
    "status_done": "Done",
    "found": "What was found",
    "needed": "What is needed",
    "waits_for": "What waits for it",
    "found_by": "Found by",
    "severity_label": "How serious",
    "when_label": "When",
    "deadline_label": "Due",
    "asked_from": "Reports come from",
    "last_seen": "Last report",
    "how_to_fix": "How to fix it",
    "how_to_fix_on": "How to fix it on {system}",
    "why_it_matters": "Why it matters",
    "waiting_heading": "What happens next",
    "watching": "We are watching for the change. We take you back to {app} as soon as it is fixed.",
    "watching_no_app": "We are watching for the change. This page updates by itself.",
    "watching_open": "This page updates by itself when something changes.",
    "watching_plain": "This page looks again every 15 seconds.",
    "waiting_for": "{sensor} last reported {ago}",
    "waiting_never": "{sensor} has not reported on this device yet",
    "check_again": "Check again",
    "checking": "Checking…",
    "checked": "Checked just now.",
    "checked_waiting": "Checked just now. It is still open. {sensor} last reported {ago}.",
    "checked_open": "Checked just now. It is still open.",
    "check_evidence": "It counts as fixed when the check itself sees it. That often takes a minute or two.",
    "back_title": "Access is back",
    "back_text": "We take you back to {app} in a moment.",
    "back_text_no_app": "You can carry on now.",
    "back_stay": "Stay here",
    "back_go": "Go now",
    "back_stayed": "You stay on this page. Continue when you like.",
    "said_news": "This page has changed.",
    "said_lost": "We lost the connection. We keep trying.",
    "said_signed_out": "Your sign-in has ended. Reload this page to sign in again.",
    "about_device": "This device",
    "device_label": "Device",
    "account_label": "Account",
    "app_label": "App",
    "system_label": "System",
    "not_you": "Not you?",
    "not_you_text": "Sign out, then sign in with your own account.",
    "not_device": "Not this device?",
    "device_help_claim": (
        "Your sign-in told us that you are on {device}. If you are on another device, sign out and sign "
        "in again here."
    ),
    "device_help_certificate": (
        "The certificate in this browser belongs to {device}. If you are on another device, "
        "that certificate should not be here: tell the people who look after your computer."
    ),
    "device_help_other": "If you are on another device, sign out and sign in again here.",
    "device_help_unknown": "Nothing in this browser or your sign-in names a device that we know.",
    "held_heading": "What we hold about this device",
    "held_text": "Your company sees this too. It comes from the checks on your device.",
    "held_none": "Nothing yet.",
    "held_from": "from {sensor}",
    "held_heard": "Last report",
    "held_finding": "Open finding",
    "value_yes": "yes",
    "value_no": "no",
    "value_none": "not known",
    # problems
    "problem_generic": "Something needs attention",
    "problem_finding_title": "A security check found something",
    "problem_generic_step": "Ask for help. Tell them the code below: it shows them what this is about.",
    "problem_uncovered_title": "Get this device set up",
    "problem_uncovered_why": "We know this device, but nobody has said yet what it needs to be safe to use.",
    "problem_uncovered_step_1": "Ask for this device to be set up. Tell them the code below.",
    "problem_fact_title": "A setting needs to change",
    "problem_silent_title": "Let {sensor} report again",
    "problem_silent_title_any": "Let the checks on {device} report again",
    "problem_silent_text": (
        "Its reports have stopped. Nothing bad was found, but what we know is too old to rely on."
    ),
    "problem_silent_text_never": "No report about this device has reached us so far.",
    "problem_silent_why": (
        "Without a fresh report we can't tell whether this device is safe to use with {app}."
    ),
    "problem_silent_why_no_app": "Without a fresh report we can't tell whether this device is safe to use.",
    "problem_silent_step_1": "Check that the device is connected to the internet.",
    "problem_silent_step_2": "Restart the device. The checks start again with it.",
    "problem_silent_step_3": "Wait a few minutes. The report comes by itself.",
    "problem_unknown_title": "Use a device that we know",
    "problem_unknown_step_1": "If you have a work device, open this page there.",
    "problem_unknown_step_2": "If this is your work device, sign out and sign in again.",
    "problem_unknown_step_3": (
        "If that does not help, ask for this device to be set up. Tell them the code below."
    ),
    "problem_unknown_why": (
        "We check devices before they open company apps. We can only check devices that we know."
    ),
    "problem_risk_step_1": "Follow what the security app on this device tells you.",
    "problem_risk_step_2": "If you are not sure, stop here and ask for help. Tell them the code below.",
    "problem_fact_step_1": "Open the settings of this device and change it as described.",
    "problem_fact_step_2": "If you can't change it, ask for help. Tell them the code below.",
    "problem_risk_why": (
        "Software or activity like this can reach what you can reach. Until it is gone, company data "
        "stays out of its way."
    ),
    "severity_critical": "Very serious",
    "severity_high": "Serious",
    "severity_medium": "Moderate",
    "severity_low": "Minor",
    "severity_informational": "For information",
    "severity_unknown": "Not rated",
    "severity_none": "None",
    "system_windows": "Windows",
    "system_macos": "macOS",
    "system_linux": "Linux",
    "system_ios": "iPhone and iPad",
    "system_android": "Android",
    "system_chromeos": "ChromeOS",
    "system_unknown": "your system",
    "compliance_compliant": "Everything is as it should be",
    "compliance_in-grace-period": "Something has to be fixed soon",
    "compliance_noncompliant": "Something has to be fixed",
    "compliance_unknown": "We can't tell",
    # blocked
    "blocked_title": "{app} is not open to you",
    "blocked_title_no_app": "This is not open to you",
    "blocked_lead": (
        "You are signed in and nothing is wrong with your device. This app is open to other people only."
    ),
    "blocked_lead_reason": "You are signed in. A rule of your company keeps this closed:",
    "blocked_lead_unmatched": "You are signed in, but nobody has opened this app to your account yet.",
    "blocked_step_ask": "If you need it for your work, ask {owner} to open it to you.",
    "blocked_step_ask_nobody": (
        "If you need it for your work, ask the people who look after it to open it to you."
    ),
    "blocked_step_account": "If you have more than one account, sign out and use the other one.",
    "try_again": "Try again",
    "start_again": "Start again",
    # restricted
    "restricted_read_only_title": "You can look, but not change things right now",
    "restricted_read_only_lead": "What you just tried to change in {app} was not saved.",
    "restricted_no_downloads_title": "You can't download from {app} right now",
    "restricted_no_downloads_lead": "You can still look at it in the browser.",
    "restricted_no_uploads_title": "You can't upload to {app} right now",
    "restricted_no_uploads_lead": "Your file was not sent.",
    "restricted_no_websocket_title": "Live updates are off right now",
    "restricted_no_websocket_lead": "This part of {app} needs a live connection.",
    "restricted_no_store_title": "This page is not kept on your device",
    "restricted_no_store_lead": "Your access to {app} is limited.",
    "restricted_see_fix": "See how to lift this",
    "limits_heading": "What is limited now",
    "limit_read-only": "Changing things is off",
    "limit_no-downloads": "Downloads are off",
    "limit_no-uploads": "Uploads are off",
    "limit_no-websocket": "Live connections are off",
    "limit_no-store": "Pages are not kept on this device",
    # sign-in and sign-out
    "sign_out_title": "Sign out?",
    "sign_out_lead": "You are signed out of {app} and of every other app behind this sign-in.",
    "sign_out_lead_no_app": "You are signed out of every app behind this sign-in.",
    "stay_signed_in": "Stay signed in",
    "signed_out_title": "You are signed out",
    "signed_out_lead": "Your session here is over. You can close this page.",
    "signed_out_provider": (
        "You may still be signed in at {provider}. On a shared computer, sign out there too."
    ),
    "signed_out_provider_unnamed": (
        "You may still be signed in at your sign-in service. On a shared computer, sign out there too."
    ),
    "sign_out_at": "Sign out at {provider} too",
    "sign_out_at_unnamed": "Sign out there too",
    "sign_in_again": "Sign in again",
    "sign_in_title": "Sign in to carry on",
    "sign_in_lead": "Your sign-in for {app} has ended, so what you just sent did not go through.",
    "sign_in_lead_no_app": "Your sign-in has ended, so what you just sent did not go through.",
    "sign_in_lost": "To keep what you typed: go back in your browser, copy it, then sign in.",
    "sign_in": "Sign in",
    "step_up_title": "One more step before you open {app}",
    "step_up_title_no_app": "One more step",
    "step_up_lead": (
        "This needs a stronger or fresher sign-in than the one you have. We bring you back here afterwards."
    ),
    "step_up_go": "Continue to sign-in",
    "choose_title": "Where do you sign in?",
    "choose_lead": "Choose the account that you use for {app}.",
    "choose_lead_no_app": "Choose the account that you use for work.",
    "sign_in_with": "Sign in with {provider}",
    # me
    "me_title": "Your session",
    "me_lead": "This is what we know about you right now.",
    "me_person": "You",
    "me_name": "Name",
    "me_email": "E-mail",
    "me_provider": "Signed in with",
    "me_groups": "Groups",
    "me_since": "Signed in",
    "me_ends": "Ends",
    "me_device": "Your device",
    "me_device_none": "We can't tell which device you are on.",
    "me_state": "How it is doing",
    "me_fix": "See how your device is doing",
    # errors: title, lead, then advice (steps are separated by a line break)
    "error_bad-request_title": "That did not make sense to us",
    "error_bad-request_lead": "The address or the data that your browser sent is not complete.",
    "error_bad-request_advice": "Go back and try once more.\nIf you typed the address, check it for slips.",
    "error_not-found_title": "There is nothing here",
    "error_not-found_lead": "This address does not lead to a page of ours.",
    "error_not-found_advice": "Check the address for slips.\nIf a link brought you here, it may be old.",
    "error_no-such-host_title": "There is no app at this address",
    "error_no-such-host_lead": "We answer here, but no app has this name.",
    "error_no-such-host_advice": (
        "Check the address for slips.\nIf a link brought you here, tell whoever gave it to you."
    ),
    "error_method-not-allowed_title": "This page can't do that",
    "error_method-not-allowed_lead": "Your browser asked for something that this address does not offer.",
    "error_method-not-allowed_advice": "Go back and try once more.",
    "error_request-timeout_title": "That took too long to arrive",
    "error_request-timeout_lead": "We waited for your browser, but not everything came.",
    "error_request-timeout_advice": "Check your connection.\nTry again.",
    "error_too-large_title": "That is too big to send",
    "error_too-large_lead": "What you sent is larger than this app accepts. Nothing was saved.",
    "error_too-large_advice": "Send a smaller file, or send it in parts.",
    "error_too-many-requests_title": "That was a lot at once",
    "error_too-many-requests_lead": "We got more requests from you than we can answer right now.",
    "error_too-many-requests_advice": "Wait a moment.\nThen try again.",
    "error_internal_title": "Something broke on our side",
    "error_internal_lead": "This is our fault. Nothing is wrong with you or your device.",
    "error_internal_advice": (
        "Try again in a minute.\nIf it happens again, ask for help and tell them the code."
    ),
    "error_bad-gateway_title": "{app} is not answering",
    "error_bad-gateway_lead": (
        "You are let in, but the app itself does not answer. Nothing is wrong with your device."
    ),
    "error_bad-gateway_advice": (
        "Try again in a minute.\nIf it stays like this, ask for help and tell them the code."
    ),
    "error_unavailable_title": "{app} is very busy",
    "error_unavailable_lead": (
        "More people want in than it can serve right now. Nothing is wrong with your device."
    ),
    "error_unavailable_advice": "Wait a moment.\nThen try again.",
    "error_cannot-check_title": "We can't check right now",
    "error_cannot-check_lead": (
        "This is our fault. Nothing is wrong with your device. To be safe, we wait until we can check."
    ),
    "error_cannot-check_advice": "Try again in a minute.",
    "error_gateway-timeout_title": "{app} takes too long to answer",
    "error_gateway-timeout_lead": (
        "We asked the app and it did not answer in time. Nothing is wrong with your device."
    ),
    "error_gateway-timeout_advice": (
        "Try again in a minute.\nIf you were saving something, check whether it was saved before you send "
        "it again."
    ),
    "error_provider-unavailable_title": "We can't reach the sign-in service",
    "error_provider-unavailable_lead": "You sign in with {provider}, and it does not answer right now.",
    "error_provider-unavailable_advice": (
        "Try again in a minute.\nIf you are signed in to other apps, they keep working."
    ),
    "error_state-expired_title": "That sign-in took too long",
    "error_state-expired_lead": (
        "The sign-in page was open for a while, so we stopped waiting. Nothing is wrong."
    ),
    "error_state-expired_advice": "Start again. It takes a moment.",
    "error_state-unknown_title": "We can't finish this sign-in",
    "error_state-unknown_lead": "It was started in another browser or window, or it is already finished.",
    "error_state-unknown_advice": (
        "Start again in this window.\nIf it keeps happening, allow cookies for this site."
    ),
    "error_provider-refused_title": "The sign-in did not work",
    "error_provider-refused_lead": "{provider} did not sign you in.",
    "error_provider-refused_advice": (
        "Start again.\nIf you pressed Cancel, just start again when you are ready."
    ),
    "error_provider-invalid_title": "We can't trust this sign-in",
    "error_provider-invalid_lead": (
        "The answer from {provider} did not pass our checks, so we did not use it."
    ),
    "error_provider-invalid_advice": (
        "Start again.\nIf it happens again, ask for help and tell them the code."
    ),
    "error_other-user_title": "You signed in with another account",
    "error_other-user_lead": "This step belongs to the account that you started with.",
    "error_other-user_advice": "Start again and use the same account, or sign out first.",
    "error_cross-site-request_title": "That did not go through",
    "error_cross-site-request_lead": "To keep you safe, we only accept this from our own pages.",
    "error_cross-site-request_advice": "Go back and try once more.",
    "the_app": "The app",
    "the_app_inside": "the app",
    "the_provider": "the sign-in service",
    "your_device": "Your device",
    "your_device_inside": "your device",
    "retry_in_one": "Try again in about 1 second.",
    "retry_in_many": "Try again in about {count} seconds.",
    "retry_in_minutes": "Try again in about {count} minutes.",
    # times
    "ago_now": "just now",
    "ago_minutes_one": "1 minute ago",
    "ago_minutes_many": "{count} minutes ago",
    "ago_hours_one": "1 hour ago",
    "ago_hours_many": "{count} hours ago",
    "ago_days_one": "1 day ago",
    "ago_days_many": "{count} days ago",
    "in_now": "in a moment",
    "in_minutes_one": "in 1 minute",
    "in_minutes_many": "in {count} minutes",
    "in_hours_one": "in 1 hour",
    "in_hours_many": "in {count} hours",
    "in_days_one": "in 1 day",
    "in_days_many": "in {count} days",
    "since_time": "since {time}",
    "since_yesterday": "since yesterday",
    "since_weekday": "since {weekday}",
    "since_date": "since {day} {month}",
    "moment": "{weekday_short} {day} {month_short}, {time} {zone}",
    "moment_year": "{weekday_short} {day} {month_short} {year}, {time} {zone}",
    "by_today": "today",
    "by_tomorrow": "by tomorrow",
    "by_weekday": "by {weekday}",
    "by_date": "by {day} {month}",
    "weekdays": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "weekdays_short": "Mon Tue Wed Thu Fri Sat Sun",
    "months": "January February March April May June July August September October November December",
    "months_short": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
}


def text(key: str, **values: object) -> str:
    """Return the text `key` with `values` put in, as plain text.

    Raises `KeyError` for an unknown key or value.
    """
    return TEXTS[key].format(**values)


def plural(key: str, count: int, **values: object) -> str:
    """Return the text `key` in its form for `count`, with ``{count}`` put in."""
    return text(f"{key}_one" if count == 1 else f"{key}_many", count=count, **values)
