Feature: Timeout

  Scenario: Timeout Of A Task
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-task
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint: https://httpbin.org/slow
          timeout:
            after: { milliseconds: 50 }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/timeout
    status: 408
    instance: /do/0/ask
    """
    And ask should cancel

  Scenario: Timeout Of The Workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-workflow
      version: '1.0.0'
    timeout:
      after: { milliseconds: 50 }
    do:
      - pause:
          wait: { hours: 1 }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/timeout
    status: 408
    """
    And pause should cancel

  Scenario: Timeout That Is Caught
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-caught
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: get
                  endpoint: https://httpbin.org/slow
                timeout:
                  after: { milliseconds: 50 }
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/timeout
            do:
              - note:
                  set:
                    late: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    late: true
    """

  Scenario: Reusable Timeout
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-reusable
      version: '1.0.0'
    use:
      timeouts:
        short:
          after: { milliseconds: 50 }
    do:
      - pause:
          wait: { hours: 1 }
          timeout: short
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/timeout
    status: 408
    instance: /do/0/pause
    """

  # Tests that the time of an attempt begins with the attempt
  Scenario: Timeout Of Each Attempt
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-attempt
      version: '1.0.0'
    do:
      - attempt:
          try:
            - pause:
                wait: '${ if .calls > 0 then "PT0.001S" else "PT1H" end }'
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/timeout
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 2
                  duration: { milliseconds: 30 }
            do:
              - note:
                  set:
                    late: true
    """
    And given the workflow input is:
    """yaml
    calls: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    late: true
    """

  # Tests that the time goes on while nothing runs
  Scenario: Timeout Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-interrupted
      version: '1.0.0'
    do:
      - both:
          do:
            - pause:
                wait: { hours: 1 }
          timeout:
            after: { milliseconds: 200 }
    """
    When the workflow is started
    And the run comes to pause
    And the run is interrupted and resumed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/timeout
    status: 408
    instance: /do/0/both
    """

  Scenario: Nothing Is Late
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: timeout-unused
      version: '1.0.0'
    do:
      - say:
          set:
            word: hello
          timeout:
            after: { hours: 1 }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: hello
    """
