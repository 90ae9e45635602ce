"""Policies written from the documentation alone, with what it says they do: each is a file whose tests have to pass."""

# ruff: noqa: E501 - a policy stands on one line

import pytest
from config_samples import load
from country_samples import write_countries

BASE = """\
version: 1
public_url: https://login.corp.example
providers:
  - {name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}, roles_claim: roles, keep_claims: [department, employment]}
  - {name: partner, issuer: "https://idp.partner.example", client_id: gate, client_secret: {env: SECRET}}
apps:
  - {name: wiki, host: wiki.corp.example, provider: corp, upstream: "http://10.0.0.5:8080"}
  - {name: payroll, host: payroll.corp.example, provider: corp, upstream: "http://10.0.0.6:8080"}
  - {name: tools, host: "*.tools.corp.example", provider: corp, upstream: "http://10.0.0.7:8080"}
sensors:
  - {name: fleet, kind: fleet, max_silence: 24h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
  - {name: edr, kind: defender, max_silence: 12h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
networks:
  - {name: office, cidrs: [203.0.113.0/24, "2001:db8:7::/48"]}
  - {name: vpn, cidrs: [10.8.0.0/16]}
session_profiles:
  - {name: look-only, read_only: {}, no_downloads: {}, no_store: true}
"""

FILES = {
    "entra: require MFA for all users": """\
access:
  policies:
    - {name: all-users, decision: allow, include: {groups: [employees]}}
    - {name: mfa, decision: step-up, exclude: {groups: [break-glass]}, when: {not_amr: [mfa, otp, hwk]}, step_up: {acr_values: [urn:corp:mfa]}}
tests:
  - {name: pwd, given: {app: wiki, groups: [employees], amr: [pwd], acr: pwd}, expect: {decision: step-up, acr_values: [urn:corp:mfa]}}
  - {name: otp, given: {app: wiki, groups: [employees], amr: [pwd, otp]}, expect: allow}
  - {name: glass, given: {app: wiki, groups: [employees, break-glass], amr: [pwd], acr: pwd}, expect: allow}
  - {name: groups not told, given: {app: wiki, groups: null, amr: [pwd], acr: pwd}, expect: {decision: step-up}}
  - {name: brings acr, given: {app: wiki, groups: [employees], amr: [pwd], acr: urn:corp:mfa}, expect: allow}
""",
    "entra: block legacy authentication": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: no-api-with-password, decision: block, when: {clients: [api], amr: [pwd], not_amr: [hwk, otp]}}
tests:
  - {name: browser, given: {app: wiki, groups: [staff], amr: [pwd]}, expect: allow}
  - {name: api, given: {app: wiki, groups: [staff], amr: [pwd], client: api}, expect: block}
  - {name: api key, given: {app: wiki, groups: [staff], amr: [pwd, hwk], client: api}, expect: allow}
  - {name: api untold, given: {app: wiki, groups: [staff], client: api}, expect: block}
""",
    "entra: require compliant or hybrid joined device for admins": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}, exclude: {roles: [admin]}}
    - {name: admins, decision: allow, include: {roles: [admin]}, when: {compliance: [compliant], binding: [certificate, claim]}}
    - {name: admins-fix, decision: remediate, include: {roles: [admin]}, when: {compliance: [noncompliant, unknown, in-grace-period]}}
tests:
  - {name: admin good, given: {app: wiki, roles: [admin], compliance: compliant, binding: certificate}, expect: {decision: allow, policy: admins}}
  - {name: admin bad, given: {app: wiki, roles: [admin], compliance: noncompliant}, expect: remediate}
  - {name: admin unknown, given: {app: wiki, roles: [admin]}, expect: remediate}
  - {name: staff, given: {app: wiki, groups: [staff]}, expect: allow}
never:
  - {name: n, allow: {include: {roles: [admin]}}, when: {compliance: [noncompliant, unknown, in-grace-period]}}
""",
    "entra: sign-in frequency and no persistent session on unmanaged": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: frequency, decision: step-up, when: {device: [unknown], auth_older_than: 1h}, step_up: {max_age: 1h}}
    - {name: unmanaged, decision: restrict, include: {groups: [staff]}, when: {device: [unknown]}, profiles: [look-only]}
tests:
  - {name: fresh, given: {app: wiki, groups: [staff], signed_in: 59m}, expect: {decision: restrict, profiles: [look-only], controls: []}}
  - {name: at the hour, given: {app: wiki, groups: [staff], signed_in: 1h}, expect: step-up}
  - {name: not told, given: {app: wiki, groups: [staff], signed_in: null}, expect: step-up}
  - {name: managed, given: {app: wiki, groups: [staff], device: known, signed_in: 9h}, expect: allow}
never:
  - {name: looks only, when: {device: [unknown]}, without: [read-only]}
""",
    "entra: block by location with named locations": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: payroll-from-office, decision: block, apps: [payroll], when: {not_networks: [office, vpn]}, reason: Only from the office.}
tests:
  - {name: office, given: {app: payroll, groups: [staff], address: 203.0.113.9}, expect: allow}
  - {name: v6, given: {app: payroll, groups: [staff], address: "2001:db8:7::9"}, expect: allow}
  - {name: vpn, given: {app: payroll, groups: [staff], networks: [vpn]}, expect: allow}
  - {name: outside, given: {app: payroll, groups: [staff], address: 198.51.100.1}, expect: {decision: block, reason: Only from the office}}
  - {name: other app, given: {app: wiki, groups: [staff], address: 198.51.100.1}, expect: allow}
never:
  - {name: n, allow: {apps: [payroll]}, when: {not_networks: [office, vpn]}}
""",
    "entra: user risk high needs password change, sign-in risk needs mfa": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: user-risk, decision: block, when: {user_risk: [high]}}
    - {name: session-risk, decision: step-up, when: {session_risk: [medium, high]}, step_up: {acr_values: [urn:corp:mfa], max_age: 5m}}
tests:
  - {name: none, given: {app: wiki, groups: [staff]}, expect: allow}
  - {name: user, given: {app: wiki, groups: [staff], user_risk: high}, expect: block}
  - {name: user silent, given: {app: wiki, groups: [staff], user_risk: high, user_silent: true}, expect: block}
  - {name: session, given: {app: wiki, groups: [staff], session_risk: medium, acr: urn:corp:mfa, signed_in: 6m}, expect: step-up}
  - {name: session fresh, given: {app: wiki, groups: [staff], session_risk: medium, acr: urn:corp:mfa, signed_in: 4m}, expect: allow}
""",
    "okta: zones, managed device, group and time": """\
access:
  policies:
    - name: contractors-office-hours
      decision: allow
      apps: [wiki]
      include: {groups: [contractors]}
      when:
        times: [{days: [mon, tue, wed, thu, fri], start: "08:00", end: "18:00", zone: America/New_York}]
        sensors: [{sensor: fleet, states: [heard]}]
tests:
  - {name: noon, given: {app: wiki, groups: [contractors], heard: {fleet: 1h}, at: "2026-03-04T12:00:00-05:00"}, expect: allow}
  - {name: eight sharp, given: {app: wiki, groups: [contractors], heard: {fleet: 1h}, at: "2026-03-04T08:00:00-05:00"}, expect: allow}
  - {name: six sharp, given: {app: wiki, groups: [contractors], heard: {fleet: 1h}, at: "2026-03-04T18:00:00-05:00"}, expect: block}
  - {name: sunday, given: {app: wiki, groups: [contractors], heard: {fleet: 1h}, at: "2026-03-08T12:00:00-04:00"}, expect: block}
  - {name: summer, given: {app: wiki, groups: [contractors], heard: {fleet: 1h}, at: "2026-07-01T12:30:00Z"}, expect: allow}
  - {name: silent, given: {app: wiki, groups: [contractors], heard: {fleet: 25h}, at: "2026-03-04T12:00:00-05:00"}, expect: block}
  - {name: never heard, given: {app: wiki, groups: [contractors], heard: {edr: 1h}, at: "2026-03-04T12:00:00-05:00"}, expect: block}
""",
    "night window over midnight and weekend": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: maintenance, decision: block, when: {times: [{days: [fri], start: "22:00", end: "02:00", zone: Europe/Berlin}]}}
tests:
  - {name: friday night, given: {app: wiki, groups: [staff], at: "2026-01-09T23:00:00+01:00"}, expect: block}
  - {name: saturday one, given: {app: wiki, groups: [staff], at: "2026-01-10T01:00:00+01:00"}, expect: block}
  - {name: friday one, given: {app: wiki, groups: [staff], at: "2026-01-09T01:00:00+01:00"}, expect: allow}
  - {name: saturday two, given: {app: wiki, groups: [staff], at: "2026-01-10T02:00:00+01:00"}, expect: allow}
""",
    "google: access levels by os version and encryption": """\
access:
  policies:
    - name: high-trust
      decision: allow
      include: {groups: [staff]}
      when:
        platforms: [macos, windows]
        ownership: [corporate]
        facts:
          - {fact: os_version, at_least: "14.10", max_age: 7d}
          - {fact: disk_encrypted, equals: true}
tests:
  - {name: good, given: {app: wiki, groups: [staff], platform: macos, ownership: corporate, facts: {os_version: "14.11", disk_encrypted: true}}, expect: allow}
  - {name: ten above nine, given: {app: wiki, groups: [staff], platform: macos, ownership: corporate, facts: {os_version: "14.9", disk_encrypted: true}}, expect: block}
  - {name: text is no truth, given: {app: wiki, groups: [staff], platform: macos, ownership: corporate, facts: {os_version: "14.11", disk_encrypted: "true"}}, expect: block}
  - {name: old, given: {app: wiki, groups: [staff], platform: macos, ownership: corporate, facts: {os_version: "14.11", disk_encrypted: true}, fact_ages: {os_version: 7d}}, expect: block}
  - {name: byod, given: {app: wiki, groups: [staff], platform: macos, ownership: personal, facts: {os_version: "14.11", disk_encrypted: true}}, expect: block}
  - {name: ios, given: {app: wiki, groups: [staff], platform: iOS, ownership: corporate, facts: {os_version: "14.11", disk_encrypted: true}}, expect: block}
""",
    "zscaler: posture score and browser isolation": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: low-score, decision: restrict, include: {groups: [staff]}, when: {facts: [{fact: score, max: 69}]}, controls: [no-downloads, no-uploads]}
    - {name: very-low, decision: block, when: {facts: [{fact: score, min: 0, max: 30}]}}
tests:
  - {name: unknown score is limited, given: {app: wiki, groups: [staff]}, expect: {decision: block}}
  - {name: 70, given: {app: wiki, groups: [staff], facts: {score: 70}}, expect: allow}
  - {name: "69.5", given: {app: wiki, groups: [staff], facts: {score: 69.5}}, expect: allow}
  - {name: 69, given: {app: wiki, groups: [staff], facts: {score: 69}}, expect: {decision: restrict, controls: [no-uploads, no-downloads]}}
  - {name: 30, given: {app: wiki, groups: [staff], facts: {score: 30}}, expect: block}
""",
    "findings by category and age": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: malware, decision: block, when: {findings: [{category: malware}]}}
    - {name: old-critical, decision: remediate, when: {findings: [{category: vulnerability, at_least: critical, older_than: 14d}]}}
tests:
  - {name: clean, given: {app: wiki, groups: [staff], heard: {edr: 1h}}, expect: allow}
  - {name: malware, given: {app: wiki, groups: [staff], findings: [{severity: low, category: Malware}]}, expect: block}
  - {name: critical new, given: {app: wiki, groups: [staff], findings: [{severity: critical, category: vulnerability, age: 13d}]}, expect: allow}
  - {name: critical old, given: {app: wiki, groups: [staff], findings: [{severity: critical, category: vulnerability, age: 14d}]}, expect: remediate}
  - {name: silent, given: {app: wiki, groups: [staff], heard: {edr: 13h}}, expect: block}
  - {name: unknown device, given: {app: wiki, groups: [staff]}, expect: block}
""",
    "compliance with grace, warn-until, levels and escalation": """\
compliance:
  policies:
    - name: laptops
      include: {platforms: [macos, windows, linux]}
      exclude: {tags: [kiosk]}
      rules:
        - {type: fact, name: disk, fact: disk_encrypted, equals: true, grace: 24h}
        - {type: fact, name: fw, fact: firewall, equals: true, level: notify}
        - {type: fact, name: os, fact: os_version, at_least: "14.6", level: warn-until, warn_until: "2026-06-01", platforms: [macos]}
        - {type: finding, name: crit, at_least: critical}
        - {type: sensor, name: seen, sensor: fleet, seen_within: 48h}
      escalation:
        - {after: 0s, decision: restrict, controls: [no-downloads]}
        - {after: 2d, decision: remediate}
        - {after: 7d, decision: block, reason: A week is enough.}
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
tests:
  - {name: good, given: {app: wiki, groups: [staff], platform: linux, facts: {disk_encrypted: true, os_version: "14.6"}}, expect: {decision: allow, compliance: compliant}}
  - {name: grace, given: {app: wiki, groups: [staff], platform: linux, facts: {disk_encrypted: false}, facts_age: 23h}, expect: {decision: restrict, compliance: in-grace-period, controls: [no-downloads]}}
  - {name: after grace, given: {app: wiki, groups: [staff], platform: linux, facts: {disk_encrypted: false}, fact_ages: {disk_encrypted: 24h}}, expect: {decision: restrict, compliance: noncompliant}}
  - {name: two days, given: {app: wiki, groups: [staff], platform: linux, facts: {disk_encrypted: false}, fact_ages: {disk_encrypted: 2d}}, expect: {decision: remediate, policy: "compliance:laptops/disk"}}
  - {name: a week, given: {app: wiki, groups: [staff], failing: {laptops/disk: 7d}}, expect: {decision: block, reason: A week is enough., compliance: noncompliant}}
  - {name: kiosk is not covered, given: {app: wiki, groups: [staff], platform: linux, tags: [kiosk], facts: {disk_encrypted: false}}, expect: {compliance: noncompliant, decision: allow}}
  - {name: warned, given: {app: wiki, groups: [staff], platform: macos, facts: {disk_encrypted: true, os_version: "14.5"}, at: "2026-05-31T12:00:00Z"}, expect: {compliance: compliant}}
  - {name: required, given: {app: wiki, groups: [staff], platform: macos, facts: {disk_encrypted: true, os_version: "14.5"}, at: "2026-06-01T00:00:00Z"}, expect: {compliance: noncompliant}}
  - {name: not reported, given: {app: wiki, groups: [staff], platform: linux, heard: {fleet: 1h}}, expect: {compliance: unknown, decision: allow}}
never:
  - {name: n, when: {device: [known], compliance: [in-grace-period]}, without: [no-downloads]}
""",
    "exemptions": """\
compliance:
  policies:
    - name: base
      rules: [{type: fact, name: disk, fact: disk_encrypted, equals: true}, {type: risk, name: risk, max: medium}]
  exemptions:
    - {rule: base/disk, devices: [build-07], reason: lab, author: carol@corp.example, expires: "2030-01-01"}
    - {rule: base/disk, users: [dan@corp.example], reason: travel, author: carol@corp.example, expires: "2030-01-01"}
  exemption_ceiling: low
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}, when: {compliance: [compliant]}}
tests:
  - {name: exempted, given: {app: wiki, groups: [staff], device_name: build-07, facts: {disk_encrypted: false}}, expect: {decision: allow, compliance: compliant}}
  - {name: exempted person, given: {app: wiki, groups: [staff], email: Dan@corp.example, facts: {disk_encrypted: false}}, expect: {decision: allow}}
  - {name: not above ceiling, given: {app: wiki, groups: [staff], device_name: build-07, facts: {disk_encrypted: false}, findings: [{severity: medium}]}, expect: {decision: block, compliance: noncompliant}}
  - {name: other device, given: {app: wiki, groups: [staff], device_name: build-08, facts: {disk_encrypted: false}}, expect: block}
  - {name: over, given: {app: wiki, groups: [staff], device_name: build-07, facts: {disk_encrypted: false}, at: "2030-01-01T00:00:00Z"}, expect: block}
""",
    "degraded inputs told apart": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: never, decision: restrict, include: {groups: [staff]}, when: {fact_states: [{fact: disk_encrypted, states: [never]}]}, controls: [read-only]}
    - {name: stale, decision: step-up, when: {fact_states: [{fact: disk_encrypted, states: [stale], max_age: 3d}]}, step_up: {max_age: 1h}}
    - {name: silent, decision: block, when: {fact_states: [{fact: disk_encrypted, states: [silent]}]}}
tests:
  - {name: fresh, given: {app: wiki, groups: [staff], facts: {disk_encrypted: false}}, expect: allow}
  - {name: never, given: {app: wiki, groups: [staff], facts: {other: 1}}, expect: {decision: restrict, controls: [read-only]}}
  - {name: stale, given: {app: wiki, groups: [staff], facts: {disk_encrypted: true}, fact_ages: {disk_encrypted: 3d}, signed_in: 2h}, expect: step-up}
  - {name: stale but fresh sign-in, given: {app: wiki, groups: [staff], facts: {disk_encrypted: true}, fact_ages: {disk_encrypted: 3d}, signed_in: 2m}, expect: allow}
  - {name: silent, given: {app: wiki, groups: [staff], silent_facts: [disk_encrypted]}, expect: block}
""",
    "services by AuthZEN": """\
access:
  policies:
    - {name: people, decision: allow, include: {groups: [staff]}, exclude: {services: ["*"]}}
    - {name: robot, decision: allow, apps: [payroll], include: {services: [payroll-export]}, when: {methods: [GET, HEAD], paths: [/export, "/api/*/export"]}}
tests:
  - {name: robot, given: {app: payroll, service: payroll-export, path: /api/v1/export}, expect: allow}
  - {name: robot writes, given: {app: payroll, service: payroll-export, path: /export, method: POST}, expect: block}
  - {name: other robot, given: {app: payroll, service: other, path: /export}, expect: block}
  - {name: robot at the wiki, given: {app: wiki, service: payroll-export}, expect: block}
  - {name: a person of that name, given: {app: payroll, user: payroll-export, path: /export}, expect: block}
never:
  - {name: no robot, allow: {not_apps: [payroll], include: {services: ["*"]}}}
""",
    "claims, provider, users": """\
access:
  policies:
    - {name: finance, decision: allow, apps: [payroll], when: {claims: [{claim: department, one_of: [finance, hr]}, {claim: employment, one_of: [employee]}], providers: [corp]}}
    - {name: ana, decision: allow, apps: [payroll], include: {users: [Ana@corp.example, "00u1"]}}
    - {name: partners, decision: restrict, apps: [wiki], controls: [read-only], include: {groups: [partners]}, when: {providers: [partner]}}
tests:
  - {name: finance, given: {app: payroll, claims: {department: finance, employment: employee}}, expect: {policy: finance}}
  - {name: list, given: {app: payroll, claims: {department: [it, hr], employment: employee}}, expect: allow}
  - {name: one missing, given: {app: payroll, claims: {department: finance}}, expect: block}
  - {name: wrong provider, given: {app: payroll, provider: partner, claims: {department: finance, employment: employee}}, expect: block}
  - {name: ana by e-mail, given: {app: payroll, email: ana@CORP.example}, expect: {policy: ana}}
  - {name: ana unverified, given: {app: payroll, email: ana@corp.example, email_verified: false}, expect: block}
  - {name: subject, given: {app: payroll, user: "00u1"}, expect: allow}
  - {name: partner, given: {app: wiki, provider: partner, groups: [partners]}, expect: {decision: restrict}}
""",
    "paths and hosts": """\
access:
  policies:
    - {name: tools, decision: allow, apps: [tools], include: {groups: [staff]}, when: {not_hosts: [admin.tools.corp.example]}}
    - {name: admin, decision: allow, apps: [tools], include: {groups: [admins]}, when: {hosts: [admin.tools.corp.example]}}
    - {name: no-keys, decision: block, when: {paths: ["/api/*/keys", /secret], not_methods: [GET]}}
    - {name: wiki, decision: allow, apps: [wiki], include: {groups: [staff]}, when: {not_paths: [/admin, "/**/edit"]}}
tests:
  - {name: host, given: {app: tools, groups: [staff], host: ci.tools.corp.example}, expect: allow}
  - {name: admin host, given: {app: tools, groups: [staff], host: admin.tools.corp.example}, expect: block}
  - {name: admin, given: {app: tools, groups: [admins], host: ADMIN.tools.corp.example}, expect: allow}
  - {name: no host told, given: {app: tools, groups: [staff, admins]}, expect: block}
  - {name: administrator is no admin, given: {app: wiki, groups: [staff], path: /administrator}, expect: allow}
  - {name: below admin, given: {app: wiki, groups: [staff], path: /admin/x}, expect: block}
  - {name: edit, given: {app: wiki, groups: [staff], path: /a/b/edit}, expect: block}
  - {name: edit at the root, given: {app: wiki, groups: [staff], path: /edit}, expect: block}
  - {name: keys, given: {app: wiki, groups: [staff], path: /api/v2/keys, method: POST}, expect: block}
  - {name: keys deeper, given: {app: wiki, groups: [staff], path: /api/v2/x/keys, method: POST}, expect: allow}
  - {name: keys slash, given: {app: wiki, groups: [staff], path: /api/v2/keys/, method: DELETE}, expect: block}
""",
    "report mode": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: trial, decision: block, when: {risk: [high, unknown]}, mode: report}
tests:
  - {name: unknown, given: {app: wiki, groups: [staff]}, expect: {decision: allow, would_be: block}}
  - {name: fine, given: {app: wiki, groups: [staff], risk: none}, expect: {decision: allow, would_be: allow}}
""",
    "worst risk": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}, when: {worst_risk: [none, low]}}
tests:
  - {name: device only, given: {app: wiki, groups: [staff], risk: none}, expect: allow}
  - {name: person, given: {app: wiki, groups: [staff], risk: none, user_risk: medium}, expect: block}
  - {name: session, given: {app: wiki, groups: [staff], risk: none, session_risk: high}, expect: block}
  - {name: unknown device, given: {app: wiki, groups: [staff], user_risk: none}, expect: block}
  - {name: silent, given: {app: wiki, groups: [staff], risk: none, silent: true}, expect: block}
""",
    "restrict lets in alone, controls add up, several step-ups": """\
access:
  policies:
    - {name: guests, decision: restrict, include: {groups: [guests]}, controls: [read-only]}
    - {name: byod, decision: restrict, include: {groups: [guests, staff]}, when: {ownership: [personal]}, controls: [no-downloads]}
    - {name: a, decision: step-up, apps: [payroll], step_up: {acr_values: [x, y], max_age: 8h}}
    - {name: b, decision: step-up, apps: [payroll], step_up: {acr_values: [y, z], max_age: 1h}}
tests:
  - {name: guest, given: {app: wiki, groups: [guests], ownership: corporate}, expect: {decision: restrict, controls: [read-only]}}
  - {name: guest at home, given: {app: wiki, groups: [guests], ownership: personal}, expect: {controls: [read-only, no-downloads], matched: [guests, byod]}}
  - {name: unknown ownership does not widen, given: {app: wiki, groups: [staff]}, expect: {decision: block}}
  - {name: two step-ups, given: {app: payroll, groups: [guests], acr: pwd, ownership: corporate}, expect: {decision: step-up, acr_values: [y]}}
""",
    "versions in compliance": """\
compliance:
  policies:
    - name: v
      rules:
        - {type: fact, name: os, fact: os_version, at_least: 14.10, below: 16}
        - {type: fact, name: channel, fact: channel, one_of: [stable, lts]}
        - {type: fact, name: av, fact: av, not_one_of: [off, disabled]}
        - {type: fact, name: patched, fact: last_update, newer_than: 30d}
        - {type: fact, name: tries, fact: tries, max: 5}
access: {policies: [{name: staff, decision: allow, when: {compliance: [compliant]}}]}
tests:
  - {name: ok, given: {app: wiki, facts: {os_version: "14.10 (23C64)", channel: lts, av: on, last_update: "2025-01-01", tries: 5}}, expect: {compliance: compliant, decision: allow}}
  - {name: too new, given: {app: wiki, facts: {os_version: "16.0", channel: lts, av: on, last_update: "2025-01-01", tries: 5}}, expect: {compliance: noncompliant}}
  - {name: unreadable, given: {app: wiki, facts: {os_version: 22H2, channel: lts, av: on, last_update: "2025-01-01", tries: 5}}, expect: {compliance: unknown}}
  - {name: number as text, given: {app: wiki, facts: {os_version: "15", channel: lts, av: on, last_update: "2025-01-01", tries: "5"}}, expect: {compliance: unknown}}
  - {name: too old a date, given: {app: wiki, facts: {os_version: "15", channel: lts, av: on, last_update: "2024-12-01", tries: 0}}, expect: {compliance: noncompliant}}
  - {name: missing, given: {app: wiki, facts: {os_version: "15", channel: lts, av: on, last_update: "2025-01-01"}}, expect: {compliance: unknown}}
""",
    "uncovered unknown": """\
compliance:
  uncovered: unknown
  policies:
    - {name: phones, include: {platforms: [ios, android]}, rules: [{type: fact, name: r, fact: jailbroken, equals: false}]}
    - {name: named, include: {devices: ["LT-*"]}, rules: [{type: risk, name: r, max: low}]}
access: {policies: [{name: in, decision: allow, when: {compliance: [compliant]}}, {name: fix, decision: remediate, when: {compliance: [unknown]}}]}
tests:
  - {name: a Mac is not covered, given: {app: wiki, platform: macos}, expect: {compliance: unknown, decision: remediate}}
  - {name: a phone, given: {app: wiki, platform: ios, facts: {jailbroken: false}}, expect: {compliance: compliant}}
  - {name: platform not told is covered, given: {app: wiki, facts: {jailbroken: true}}, expect: {compliance: noncompliant}}
  - {name: by name, given: {app: wiki, platform: macos, device_name: LT-7, risk: none, heard: {edr: 1h}}, expect: {compliance: compliant}}
""",
    "countries": """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}, when: {networks: [home]}}
    - {name: embargo, decision: block, when: {networks: [embargoed]}}
tests:
  - {name: de, given: {app: wiki, groups: [staff], country: DE}, expect: allow}
  - {name: fr, given: {app: wiki, groups: [staff], country: FR}, expect: block}
  - {name: kp, given: {app: wiki, groups: [staff], country: KP}, expect: {policy: embargo}}
  - {name: unknown, given: {app: wiki, groups: [staff], country: unknown}, expect: {policy: embargo}}
networks:
  - {name: home, countries: [DE, AT]}
  - {name: embargoed, countries: [KP, unknown]}
country_database: country.mmdb
""",
}


@pytest.mark.parametrize("name", FILES)
def test_it_means_what_the_documentation_says(name, tmp_path):
    """Loading runs the tests and proves the assertions of a file: it is refused when one of them fails."""
    text = BASE + FILES[name]
    if "country_database" in FILES[name]:
        write_countries(tmp_path / "country.mmdb")
        text = BASE[: BASE.index("networks:")] + BASE[BASE.index("session_profiles:") :] + FILES[name]
    loaded = load(text, base=tmp_path, env={"SECRET": "0123456789abcdef0123"})
    assert len(loaded.config.tests) >= 2
