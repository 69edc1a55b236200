Feature: Cancellation

  Scenario: Cancel A Run That Waits
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: cancel-wait
      version: '1.0.0'
    do:
      - pause:
          wait: { hours: 1 }
      - never:
          set:
            said: true
    """
    When the workflow is started
    And the run comes to pause
    And the run is cancelled
    Then the workflow should cancel
    And pause should cancel
    And never should cancel

  Scenario: Cancel A Run That Listens Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: cancel-listen
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.ordered
    """
    When the workflow is started
    And the run comes to hear
    And the run is interrupted and resumed
    And the run is cancelled
    Then the workflow should cancel

  # Tests that cancellation is not an error to be caught
  Scenario: Cancel A Run That Catches Everything
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: cancel-try
      version: '1.0.0'
    do:
      - attempt:
          try:
            - pause:
                wait: { hours: 1 }
          catch:
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 100
            do:
              - never:
                  set:
                    caught: true
    """
    When the workflow is started
    And the run comes to pause
    And the run is cancelled
    Then the workflow should cancel
    And never should cancel

  Scenario: Cancel A Run That Calls
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: cancel-call
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - ask:
                  call: http
                  with:
                    method: get
                    endpoint: https://httpbin.org/slow
              - pause:
                  wait: { hours: 1 }
    """
    When the workflow is started
    And the run comes to ask
    And the run is cancelled
    Then the workflow should cancel
