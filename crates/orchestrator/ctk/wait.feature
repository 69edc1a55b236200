Feature: Wait Task

  # Tests that the input goes through
  Scenario: Wait
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: wait
      version: '1.0.0'
    do:
      - pause:
          wait: { milliseconds: 20 }
      - say:
          set:
            word: ${ .word }
    """
    And given the workflow input is:
    """yaml
    word: hello
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: hello
    """
    And pause should run before say

  Scenario: Wait Of An ISO 8601 Duration
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: wait-iso
      version: '1.0.0'
    do:
      - pause:
          wait: PT0.02S
    """
    When the workflow is executed
    Then the workflow should complete

  # Tests that the time to wait until survives, and the tasks before are not done again
  Scenario: Wait Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: wait-interrupted
      version: '1.0.0'
    do:
      - count:
          call: http
          with:
            method: post
            endpoint: https://httpbin.org/flaky/before/0
      - pause:
          wait: { milliseconds: 300 }
      - say:
          set:
            attempt: ${ .attempt }
    """
    When the workflow is started
    And the run comes to pause
    And the run is interrupted and resumed
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    attempt: 1
    """
    And the service should have been asked 1 times at /flaky/before/0
