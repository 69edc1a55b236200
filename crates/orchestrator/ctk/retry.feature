Feature: Retry

  Scenario: Retry Until It Succeeds
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/2
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 5
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    attempt: 3
    """
    And the service should have been asked 3 times at /flaky/ask/2

  # Tests that the error is raised when the attempts are used up
  Scenario: Retry In Vain
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-in-vain
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/9
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 2
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/communication
    status: 503
    instance: /do/0/attempt/try/0/ask
    """
    And the service should have been asked 3 times at /flaky/ask/9

  # Tests that the handler is run when the attempts are used up
  Scenario: Retry In Vain And Handle
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-and-handle
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/9
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 1
            as: err
            do:
              - note:
                  set:
                    gaveUp: ${ $err.status }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    gaveUp: 503
    """
    And the service should have been asked 2 times at /flaky/ask/9

  Scenario: Retry With Exponential Backoff And Jitter
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-exponential
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/3
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 1 }
              backoff:
                exponential: {}
              jitter:
                from: { milliseconds: 1 }
                to: { milliseconds: 3 }
              limit:
                attempt:
                  count: 5
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    attempt: 4
    """

  Scenario: Retry With Linear Backoff And A Reusable Policy
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-linear
      version: '1.0.0'
    use:
      retries:
        patient:
          delay: { milliseconds: 1 }
          backoff:
            linear:
              increment: { milliseconds: 1 }
          limit:
            attempt:
              count: 5
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/2
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry: patient
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    attempt: 3
    """

  # Tests that a policy looks at the error
  Scenario: Retry Only When
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-when
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/9
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              when: '$error.status == 500'
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 5
            do:
              - note:
                  set:
                    gaveUp: ${ $error.status }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    gaveUp: 503
    """
    And the service should have been asked 1 times at /flaky/ask/9

  # Tests that an error that does not fit is neither retried nor handled
  Scenario: Catch Nothing Else
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: catch-nothing-else
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: get
                  endpoint: https://httpbin.org/status/404
          catch:
            errors:
              with:
                status: 503
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 3
    """
    When the workflow is executed
    Then the workflow should fault
    And the service should have been asked 1 times at /status/404

  # Tests that attempts are counted on, and that no attempt is made twice
  Scenario: Retry Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-interrupted
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/2
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 200 }
              limit:
                attempt:
                  count: 2
    """
    When the workflow is started
    And the run comes to attempt
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    attempt: 3
    """
    And the service should have been asked 3 times at /flaky/ask/2

  # Tests that no attempt is made when the time is over
  Scenario: Retry Limit Of Time
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: retry-duration
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/99
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 30 }
              limit:
                duration: { milliseconds: 50 }
    """
    When the workflow is executed
    Then the workflow should fault
